"""Photos at the size that a graph takes or a task declares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptp_export.sizes import Size
from ptp_runtime.manifest import Resize
from ptp_runtime.resample import resize_pixels, resized_shape


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


def resized_photo(image: NDArray[np.uint8], resize: Resize | None) -> NDArray[Any]:
    """What the codec is given: the photo, after the resize that the task declares.

    Returns:
        [H', W', 3] in 0..255: the uint8 photo itself, or float32 where it was resized.
    """
    if resize is None:
        return image
    height, width = image.shape[:2]
    rows, columns = resized_shape(height, width, resize)
    return image if (rows, columns) == (height, width) else resize_pixels(image, rows, columns)
