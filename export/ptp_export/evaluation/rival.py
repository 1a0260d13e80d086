"""What every rival is to an evaluation, whether it codes pictures or features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from ptp_runtime.errors import UnsupportedImageError


class Rival(Protocol):
    """A codec beside ours, with a curve of several points."""

    @property
    def name(self) -> str:
        """As in ``--codecs`` and in the results."""

    @property
    def settings(self) -> str:
        """What is fixed, for the reader of a figure."""

    @property
    def qualities(self) -> Sequence[int]:
        """The points of its curve, from few bytes to many."""


def require_sides(pixels: NDArray[Any], smallest: int, name: str, leave_out: str) -> None:
    """Refuse a photograph that a rival cannot code.

    Args:
        pixels: [H, W, 3].
        smallest: the least side, pixels.
        name: of the rival, for people.
        leave_out: what else can be left out, for the hint.

    Raises:
        UnsupportedImageError: a side is smaller.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < smallest:
        raise UnsupportedImageError(
            f"the photo is too small for {name}",
            expected=f"at least {smallest}×{smallest} pixels",
            got=f"{width}×{height}",
            hint=f"leave the photo out, or {leave_out}",
        )
