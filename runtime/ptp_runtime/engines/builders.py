"""Whoever can build engines, found by name: the runtime has no builder and imports none."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from ptp_runtime.errors import MissingExtraError

BUILDER_GROUP = "ptp.engine_builders"


class FixEngines(Protocol):
    """Builds a bundle's engines again."""

    def __call__(
        self, bundle: Path, targets: tuple[str, ...], devices: tuple[str, ...], everything: bool, cache: Path | None
    ) -> dict[str, Any]:
        """Replace the bundle as a whole, or raise and leave it as it was.

        Args:
            bundle: its directory.
            targets: ``tensorrt`` or ``tensorrt-rtx``; empty: what is installed.
            devices: compute capabilities; empty: what fits.
            everything: engines that nothing is known against, too.
            cache: folder of engines that were built before, or None.

        Returns:
            ``built``, ``kept``, ``dropped`` (files of the bundle) and ``seconds``.
        """


def engine_builder() -> FixEngines:
    """The builder that is installed.

    Raises:
        MissingExtraError: none is, or it cannot be imported.
    """
    reason = "no package offers it"
    for point in entry_points(group=BUILDER_GROUP):
        try:
            builder: FixEngines = point.load()
        except ImportError as error:
            reason = str(error)
        else:
            return builder
    raise MissingExtraError(
        "building engines needs packages that are not installed",
        expected="the extra 'export'",
        got=reason,
        hint="pip install 'ptp-deploy[export]', or run this where it is installed and copy the bundle",
    )
