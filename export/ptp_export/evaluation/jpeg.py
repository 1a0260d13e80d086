"""JPEG as the rival: its best case at a given number of bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class JpegPhoto:
    """A photo after JPEG.

    Attributes:
        pixels: decoded, uint8 RGB [H, W, 3].
        size_bytes: of the file without metadata.
        quality: Pillow's 1..95.
    """

    pixels: NDArray[np.uint8]
    size_bytes: int
    quality: int


def jpeg_with_at_least(pixels: NDArray[np.uint8], size_bytes: int) -> JpegPhoto:
    """The smallest JPEG that is not smaller than ``size_bytes``: any rounding is in JPEG's favour.

    Progressive, optimised Huffman tables, 4:2:0, no metadata: the fewest bytes Pillow's encoder gives for a quality.
    """
    low, high = 1, 95
    while low < high:
        middle = (low + high) // 2
        if len(_encode(pixels, middle)) >= size_bytes:
            high = middle
        else:
            low = middle + 1
    data = _encode(pixels, low)
    with Image.open(io.BytesIO(data)) as image:
        return JpegPhoto(np.asarray(image.convert("RGB")), len(data), low)


def _encode(pixels: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True, progressive=True, subsampling="4:2:0")
    return buffer.getvalue()
