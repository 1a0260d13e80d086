"""The image that the codec is given: the photo, after the resize that the bundle's task declares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptp_runtime.bicubic import centre_crop_pixels
from ptp_runtime.manifest import CentreCrop, DeclaredResize
from ptp_runtime.resample import resize_pixels, resized_shape


def coded_shape(height: int, width: int, resize: DeclaredResize | None) -> tuple[int, int]:
    """Height and width, in pixels, of the image that a photo of this size is coded as."""
    if isinstance(resize, CentreCrop):
        return resize.crop, resize.crop
    return (height, width) if resize is None else resized_shape(height, width, resize)


def coded_pixels(
    pixels: npt.NDArray[np.uint8], resize: DeclaredResize | None
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """The image (H', W', 3), RGB in 0..255: the uint8 photo itself, or float32 where it was resized.

    Args:
        pixels: uint8 (H, W, 3).
        resize: as the manifest declares it.
    """
    if isinstance(resize, CentreCrop):
        return centre_crop_pixels(pixels, resize)
    height, width = coded_shape(pixels.shape[0], pixels.shape[1], resize)
    return pixels if pixels.shape[:2] == (height, width) else resize_pixels(pixels, height, width)
