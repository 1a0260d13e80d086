"""Opening a bundle of which only the engines may be damaged: they can be made again from the graphs beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BundleError
from ptp_runtime.manifest import FileEntry


@dataclass(frozen=True)
class DamagedBundle:
    """A bundle that is sound but, maybe, for its engines.

    Attributes:
        bundle: every file but the broken ones was verified.
        broken: engine file → what is wrong with it.
    """

    bundle: Bundle
    broken: Mapping[str, BundleError]


def open_for_repair(path: str | os.PathLike[str], task: str | None = None) -> DamagedBundle:
    """Open a bundle and verify its files; engines that are missing or altered are listed, not refused.

    Args:
        path: of the bundle.
        task: whose files; None: those of its main one.

    Raises:
        BundleError: anything else is wrong with it; see :meth:`~ptp_runtime.bundle.Bundle.open`.
    """
    bundle = Bundle.open_unverified(path, task)
    engines = {engine.file for engine in bundle.manifest.engines}
    kept = {graph.file for graph in bundle.manifest.graphs}
    broken: dict[str, BundleError] = {}
    for entry in dict.fromkeys(bundle.manifest.files()):
        try:
            bundle.verify(FileEntry(entry.file, entry.sha256))
        except BundleError as error:
            if entry.file not in engines or entry.file in kept:
                raise
            broken[entry.file] = error
    return DamagedBundle(bundle, broken)
