"""One side of a bundle: what a camera needs to encode, or what a server needs to decode.

Both sides have the entropy path, its tables and its golden test, and the identity of the whole: streams are the same.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from ptp_runtime.atomic import new_directory
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import UsageError
from ptp_runtime.manifest import MANIFEST_NAME, SIDES, FileEntry, Manifest, json_from_manifest
from ptp_runtime.manifest.model import SIDE_ROLES


def split_bundle(source: str | os.PathLike[str], side: str, output: Path, *, overwrite: bool = False) -> Manifest:
    """Write one side of a bundle as a bundle of its own.

    Args:
        source: a whole bundle, of one task or several.
        side: ``encoder`` or ``decoder``.
        output: where to.
        overwrite: replace a bundle that is there.

    Returns:
        The main manifest of what was written.

    Raises:
        UsageError: no such side, or the bundle is one side already.
        BundleError: the bundle cannot be used.
    """
    if side not in SIDES[1:]:
        raise UsageError("there is no such side", expected=" or ".join(SIDES[1:]), got=repr(side))
    bundle = Bundle.open(source)
    if bundle.main.side != "both":
        raise UsageError(f"{source} is the {bundle.main.side}'s side already", expected="a whole bundle")
    listed = {}
    documents: dict[str, bytes] = {}
    manifests = []
    for task in bundle.tasks[1:]:
        manifest = one_side(bundle.of_task(task).manifest, side)
        path = bundle.main.others[task].file
        documents[path] = json_from_manifest(manifest)
        listed[task] = FileEntry(path, hashlib.sha256(documents[path]).hexdigest())
        manifests.append(manifest)
    main = replace(one_side(bundle.main, side), others=listed)
    with new_directory(output, replace=overwrite) as folder:
        for manifest in (main, *manifests):
            for entry in manifest.files():
                if entry.file not in documents:
                    _write(folder / entry.file, bundle.read(entry))
        for path, data in documents.items():
            _write(folder / path, data)
        _write(folder / MANIFEST_NAME, json_from_manifest(main))
    return main


def one_side(manifest: Manifest, side: str) -> Manifest:
    """The manifest with the graphs and engines of one side alone."""
    roles = ("entropy", *SIDE_ROLES[side])
    graphs = tuple(graph for graph in manifest.graphs if graph.role in roles)
    engines = tuple(engine for engine in manifest.engines if engine.role in roles)
    kept = {engine.file for engine in engines}
    audit = dict(manifest.audit)
    if "graphs" in audit:
        audit["graphs"] = {name: entry for name, entry in audit["graphs"].items() if name in {g.name for g in graphs}}
    if "engines" in audit:
        audit["engines"] = {file: entry for file, entry in audit["engines"].items() if file in kept}
    return replace(manifest, graphs=graphs, engines=engines, side=side, audit=audit)


def copy_bundle(bundle: Bundle, folder: Path) -> None:
    """Copy what the manifests of an opened bundle list, and nothing else, into a folder; digests are compared.

    Raises:
        BundleError: a file is not what was exported.
    """
    for task in bundle.tasks:
        for entry in bundle.of_task(task).manifest.files():
            _write(folder / entry.file, bundle.read(entry))
    _write(folder / MANIFEST_NAME, json_from_manifest(bundle.main))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
