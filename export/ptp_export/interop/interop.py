"""The whole comparison: bundles, photos, configurations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptp_export.interop.configurations.available import BUILDERS
from ptp_export.interop.configurations.configuration import Configuration, EntropyFiles
from ptp_export.interop.configurations.engine_paths import build_engines
from ptp_export.interop.latents import PIECES, Analysis, pieces
from ptp_export.interop.matrix import Watcher, compare_all
from ptp_export.interop.report import Findings
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.sizes import Size
from ptp_export.verify.verify_bundle import photos_from
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import UsageError


def compare_bundles(
    bundles: Sequence[Path],
    configurations: Sequence[Configuration],
    photos: Path | None,
    symbols: int,
    watcher: Watcher,
    *,
    builds: bool,
    sizes: Sequence[Size | None] = PIECES,
) -> list[Findings]:
    """Compare all configurations on each of the bundles, on the same photos.

    Args:
        bundles: folders.
        configurations: see :func:`~ptp_export.interop.configurations.available.all_configurations`.
        photos: folder; None: the shipped parity photographs.
        symbols: to compare at least, a bundle; there is at least one piece of each size.
        watcher: is told how far it is.
        builds: also build engines where a builder is installed.
        sizes: of the pieces of photos that are coded.

    Raises:
        BundleError: a bundle cannot be opened.
        ImageError: a photo cannot be read.
        EngineError: a graph failed.
    """
    opened = [Bundle.open(path) for path in bundles]
    chosen = shipped_set("parity") if photos is None else photos_from(photos)
    findings = []
    for bundle, name in zip(opened, _names(bundles), strict=True):
        checks = tuple(build_engines(EntropyFiles.of(bundle), target) for target in BUILDERS) if builds else ()
        analysis = Analysis(bundle)
        try:
            items = (analysis(piece) for piece in pieces(chosen, bundle, sizes))
            matrix = compare_all(bundle, configurations, items, symbols, watcher, least_items=len(sizes))
        finally:
            analysis.close()
        findings.append(Findings(matrix, checks, chosen.provenance, name))
    return findings


def _names(bundles: Sequence[Path]) -> list[str]:
    """The folders' own names, with as many of their parents' as tell them apart; never a path of the machine.

    Raises:
        UsageError: one bundle twice.
    """
    parts = [path.resolve().parts for path in bundles]
    if len(set(parts)) < len(parts):
        raise UsageError("a bundle is given twice", got=", ".join(path.name for path in bundles))
    count = 1
    while len({part[-count:] for part in parts}) < len(parts):
        count += 1
    return ["/".join(part[-count:]) for part in parts]
