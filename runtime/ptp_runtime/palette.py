"""The colours of class numbers, as the PASCAL VOC devkit gives them, and masks as palette PNG files."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

COLOURS = 256


@lru_cache(maxsize=1)
def voc_palette() -> npt.NDArray[np.uint8]:
    """uint8 [256, 3]: the bits of the class number dealt to red, green and blue, the lowest to the highest bit.

    Source: ``VOClabelcolormap.m`` of the PASCAL VOC devkit. Class 0 is black, 15 (person) is (192, 128, 128).
    """
    numbers = np.arange(COLOURS)
    palette = np.zeros((COLOURS, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((numbers >> (3 * bit + channel)) & 1) << (7 - bit)
    colours = palette.astype(np.uint8)
    colours.flags.writeable = False
    return colours


def png_from_mask(mask: npt.NDArray[np.uint8]) -> bytes:
    """A mask (H, W) of class numbers as an 8-bit palette PNG: the pixels are the numbers, shown in VOC's colours."""
    image = Image.fromarray(mask)
    image.putpalette(voc_palette().tobytes())
    return png_from_image(image)


def png_from_image(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
