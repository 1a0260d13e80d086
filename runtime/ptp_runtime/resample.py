"""Bilinear resampling with half-pixel centres, without antialiasing: torch's ``interpolate(align_corners=False)``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptp_runtime.manifest import Resize

Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]


def linear_weights(length_out: int, length_in: int) -> tuple[Index, Index, Float]:
    """For each output position: the two input positions it lies between, and the weight of the second.

    The arithmetic is float32 throughout, as torch's is, so that ties fall the same way.

    Returns:
        (first, second, weight), each of ``length_out`` entries; value = (1 − weight)·in[first] + weight·in[second].
    """
    scale = np.float32(length_in / length_out)
    centre = (np.arange(length_out, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    centre = np.maximum(centre, np.float32(0))
    first = np.minimum(centre.astype(np.int64), length_in - 1)
    second = np.minimum(first + 1, length_in - 1)
    return first, second, (centre - first).astype(np.float32)


def resized_shape(height: int, width: int, resize: Resize) -> tuple[int, int]:
    """Height and width after a declared resize: torchvision's rule, sides rounded down, never below 1."""
    scale = min(resize.shorter_side / min(height, width), resize.longer_side / max(height, width))
    return max(1, int(height * scale)), max(1, int(width * scale))


def resize_pixels(pixels: npt.NDArray[np.uint8], height: int, width: int) -> Float:
    """A photo (H, W, 3), 0..255, at another size: float32, not rounded back to integers."""
    top, bottom, down = linear_weights(height, pixels.shape[0])
    left, right, along = linear_weights(width, pixels.shape[1])
    source = pixels.astype(np.float32)
    one = np.float32(1)
    rows = source[:, left] * np.subtract(one, along)[None, :, None] + source[:, right] * along[None, :, None]
    resized: Float = rows[top] * np.subtract(one, down)[:, None, None] + rows[bottom] * down[:, None, None]
    return resized
