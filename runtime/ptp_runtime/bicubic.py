"""Bicubic resampling with antialiasing, of a centred square alone: Pillow's filter in float32, without its roundings.

Pillow rounds to 8 bits after the rows and again after the columns; here nothing is rounded, and only the end is clipped
to 0..255. The square is cut out before anything is computed, so a photo of 1×4096 costs no more than another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptp_runtime.manifest import CentreCrop

Float = npt.NDArray[np.float32]

_A = -0.5
"""Slope of the kernel at 1: Keys' choice, and Pillow's."""

_REACH = 2.0
"""The kernel is 0 beyond this distance."""


@dataclass(frozen=True)
class _Tap:
    """One output position: the first of the input positions it is made of, and their weights, which sum to 1."""

    first: int
    weights: Float


def centre_crop_pixels(pixels: npt.NDArray[np.uint8], resize: CentreCrop) -> Float:
    """The centred square of the scaled photo.

    Args:
        pixels: uint8 (H, W, 3).
        resize: shorter side and crop, pixels.

    Returns:
        float32 (crop, crop, 3) in 0..255.
    """
    height, width = pixels.shape[:2]
    rows, columns = (_taps(side, min(height, width), resize) for side in (height, width))
    left = columns[0].first
    right = columns[-1].first + len(columns[-1].weights)
    window = pixels[:, left:right]
    tall = np.stack([_weighted(tap, window) for tap in rows])
    square = np.stack([_weighted(tap, tall.swapaxes(0, 1), left) for tap in columns], axis=1)
    result: Float = np.clip(square, 0, 255)
    return result


def _taps(side: int, shorter: int, resize: CentreCrop) -> list[_Tap]:
    """Of the kept positions along a side of ``side`` pixels, where the photo's shorter side has ``shorter``."""
    scaled = resize.shorter_side * side // shorter
    first = round((scaled - resize.crop) / 2)
    scale = side / scaled
    stretch = max(scale, 1.0)
    taps = []
    for position in range(first, first + resize.crop):
        centre = (position + 0.5) * scale
        low = max(0, math.floor(centre - _REACH * stretch + 0.5))
        high = min(side, math.floor(centre + _REACH * stretch + 0.5))
        weights = _kernel((np.arange(low, high) + 0.5 - centre) / stretch)
        taps.append(_Tap(low, (weights / weights.sum()).astype(np.float32)))
    return taps


def _kernel(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel (1981), for distances in output pixels."""
    x = np.abs(distance)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    kernel: npt.NDArray[np.float64] = np.where(x < 1, near, np.where(x < _REACH, far, 0.0))
    return kernel


def _weighted(tap: _Tap, source: npt.NDArray[np.uint8] | Float, offset: int = 0) -> Float:
    """The weighted sum over the first axis of ``source``, whose position 0 is the input's ``offset``."""
    start = tap.first - offset
    part = source[start : start + len(tap.weights)].astype(np.float32)
    total: Float = np.tensordot(tap.weights, part, axes=1)
    return total
