"""What ``ptp doctor --fix`` calls, through the entry-point group ``ptp.engine_builders``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ptp_export.engines.choices import BuildChoices
from ptp_export.engines.rebuild import RebuildRequest, rebuild_engines
from ptp_export.progress import ProgressBar


def fix(
    bundle: Path, targets: tuple[str, ...], devices: tuple[str, ...], everything: bool, cache: Path | None
) -> dict[str, Any]:
    """Build a bundle's engines again, with a progress bar on stderr.

    Args:
        bundle: its directory.
        targets, devices, everything: see :class:`RebuildRequest`.
        cache: of engines; None: every engine is built.

    Returns:
        ``built``, ``kept`` and ``dropped``, the files; and ``seconds``.
    """
    folder = bundle.resolve()
    request = RebuildRequest(
        targets, everything, devices, BuildChoices(cache=cache), folder.with_name(folder.name + ".log")
    )
    with ProgressBar(sys.stderr) as bar:
        result = rebuild_engines(folder, request, bar)
    return {
        "built": list(result.built),
        "kept": list(result.kept),
        "dropped": list(result.dropped),
        "seconds": round(result.seconds, 3),
    }
