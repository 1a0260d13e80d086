"""Photos at the size that a graph takes or a task declares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptp_export.sizes import Size
from ptp_runtime.coded_photo import coded_pixels
from ptp_runtime.manifest import CentreCrop, DeclaredResize


def fit_photo(image: NDArray[np.uint8], size: Size | None, resize: DeclaredResize | None = None) -> NDArray[np.uint8]:
    """The photo scaled to fill a fixed size and cropped around its centre; unchanged where every photo will do.

    Args:
        image: uint8 [H, W, 3].
        size: of a static export, or None.
        resize: what the task declares; one with a crop takes every photo.

    Returns:
        uint8 [size.height, size.width, 3], or the photo itself.
    """
    if size is None or isinstance(resize, CentreCrop) or image.shape[:2] == (size.height, size.width):
        return image
    height, width = image.shape[:2]
    scale = max(size.height / height, size.width / width)
    scaled = (max(size.width, round(width * scale)), max(size.height, round(height * scale)))
    resized = np.asarray(Image.fromarray(image).resize(scaled, Image.Resampling.BICUBIC))
    top, left = (scaled[1] - size.height) // 2, (scaled[0] - size.width) // 2
    return np.ascontiguousarray(resized[top : top + size.height, left : left + size.width])


def resized_photo(image: NDArray[np.uint8], resize: DeclaredResize | None) -> NDArray[Any]:
    """What the codec is given: the photo, after the resize that the task declares.

    Returns:
        [H', W', 3] in 0..255: the uint8 photo itself, or float32 where it was resized.
    """
    return coded_pixels(image, resize)
