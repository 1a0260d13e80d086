"""What an image codec is to an evaluation, and the search for the quality that gives a number of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ptp_export.evaluation.rival import Rival

Pixels = NDArray[np.uint8]


class ImageCodec(Rival, Protocol):
    """A codec for pictures. ``scale`` is sorted from few bytes to many."""

    @property
    def scale(self) -> Sequence[int]:
        """Every quality it has, from few bytes to many."""

    def encode(self, pixels: Pixels, quality: int) -> bytes:
        """RGB uint8 [H, W, 3] to bytes that :meth:`decode` alone can read."""

    def decode(self, data: bytes) -> Pixels:
        """RGB uint8 [H, W, 3] of the encoded size."""

    def counted(self, data: bytes) -> int:
        """Bytes that count as the picture's: without metadata and container."""


def quality_for(codec: ImageCodec, pixels: Pixels, size_bytes: int) -> tuple[int, bytes]:
    """The lowest quality whose bytes are not fewer than ``size_bytes``: any rounding is in the rival's favour.

    Returns:
        The quality and what it gave; the highest quality if even that gives fewer bytes.
    """
    low, high = 0, len(codec.scale) - 1
    while low < high:
        middle = (low + high) // 2
        if codec.counted(codec.encode(pixels, codec.scale[middle])) >= size_bytes:
            high = middle
        else:
            low = middle + 1
    return codec.scale[low], codec.encode(pixels, codec.scale[low])
