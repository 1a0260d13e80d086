"""The picture for people from the image extractor's output."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import EngineError
from ptp_runtime.resample import resize_pixels
from ptp_runtime.tasks.results import View


def view_from_image(
    image: npt.NDArray[np.float32],
    coded: tuple[int, int],
    original: tuple[int, int],
    lead: tuple[int, int] = (0, 0),
) -> View:
    """Clip, round and crop.

    Args:
        image: float32 [3, h, w] in 0..1 with h, w at least the coded size and the lead.
        coded: height and width of the image that was coded.
        original: height and width of the photo; another size only after a declared resize.
        lead: rows and columns in front of the photo, cropped off.

    Raises:
        EngineError: the head's output is smaller than the photo.
    """
    height, width = coded
    top, left = lead
    if image.shape[0] != 3 or image.shape[1] < top + height or image.shape[2] < left + width:
        raise EngineError(
            "the head's image has another shape",
            expected=f"3 × {top + height} × {left + width} at least",
            got=" × ".join(str(n) for n in image.shape),
            hint="export the bundle again",
        )
    scaled = np.clip(image[:, top : top + height, left : left + width].transpose(1, 2, 0) * np.float32(255), 0, 255)
    pixels = np.ascontiguousarray(np.rint(scaled).astype(np.uint8))
    if original != coded:
        pixels = np.rint(resize_pixels(pixels, *original)).astype(np.uint8)
    return View(pixels)
