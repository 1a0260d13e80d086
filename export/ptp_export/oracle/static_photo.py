"""Photos for graphs that take one size only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptp_export.sizes import Size


def fit_photo(image: NDArray[np.uint8], size: Size | None) -> NDArray[np.uint8]:
    """The photo scaled to fill a fixed size and cropped around its centre; unchanged where the size is free.

    Args:
        image: uint8 [H, W, 3].
        size: of a static export, or None.

    Returns:
        uint8 [size.height, size.width, 3].
    """
    if size is None or image.shape[:2] == (size.height, size.width):
        return image
    height, width = image.shape[:2]
    scale = max(size.height / height, size.width / width)
    scaled = (max(size.width, round(width * scale)), max(size.height, round(height * scale)))
    resized = np.asarray(Image.fromarray(image).resize(scaled, Image.Resampling.BICUBIC))
    top, left = (scaled[1] - size.height) // 2, (scaled[0] - size.width) // 2
    return np.ascontiguousarray(resized[top : top + size.height, left : left + size.width])
