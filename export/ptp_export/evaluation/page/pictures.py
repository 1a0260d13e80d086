"""A picture with what a task found in it, small enough to be part of a page."""

from __future__ import annotations

import base64
import colorsys
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ptp_runtime.tasks import Classification, Detections, Segmentation, TaskOutput

#: Longest side on the page, pixels.
LARGEST_SIDE = 480
#: Boxes below this score are not drawn.
SHOWN_SCORE = 0.3

_OPACITY = 0.6
_WHITE, _BLACK = (255, 255, 255), (20, 20, 20)


def data_uri(pixels: NDArray[np.uint8], output: TaskOutput | None) -> str:
    """A JPEG as a ``data:`` URI.

    Args:
        pixels: RGB [H, W, 3], shown behind.
        output: in pixels of a photograph of these proportions; None: the picture alone.
    """
    image = _drawn(Image.fromarray(pixels), output)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def colour(label: int) -> tuple[int, int, int]:
    """A class's colour, 0..255: neighbouring numbers are a golden section of the circle of hues apart.

    VOC's own colours are too dark or too pale over a photograph.
    """
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _drawn(picture: Image.Image, output: TaskOutput | None) -> Image.Image:
    scale = min(1.0, LARGEST_SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    image = picture.resize(size, Image.Resampling.LANCZOS)
    if isinstance(output, Segmentation):
        mask = np.asarray(Image.fromarray(output.mask).resize(size, Image.Resampling.NEAREST))
        return _tinted(np.asarray(image), mask)
    if isinstance(output, Detections):
        _boxes(image, output, scale)
    elif isinstance(output, Classification):
        _caption(image, f"{output.names[0]} {output.scores[0]:.0%}")
    return image


def _tinted(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Image.Image:
    """Classes in strong colours over the picture in grey; a white line along their borders."""
    colours = np.array([colour(label) for label in range(256)], np.float64)[mask]
    grey = pixels.mean(2, keepdims=True).repeat(3, 2)
    blend = np.where(mask[:, :, None] > 0, grey * (1 - _OPACITY) + colours * _OPACITY, 0.25 * pixels + 0.75 * grey)
    edge = np.zeros(mask.shape, bool)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    blend[edge] = _WHITE
    return Image.fromarray(np.rint(blend).astype(np.uint8))


def _boxes(image: Image.Image, output: Detections, scale: float) -> None:
    draw = ImageDraw.Draw(image)
    for box, score, label in list(zip(output.boxes, output.scores, output.labels, strict=True))[::-1]:
        if score >= SHOWN_SCORE:
            left, top, right, bottom = (float(value) * scale for value in box)
            draw.rectangle((left, top, right, bottom), outline=colour(int(label)), width=2)
            draw.text((left + 3, top + 1), f"{output.classes[label]} {score:.2f}", fill=_WHITE, font=_font())


def _caption(image: Image.Image, text: str) -> None:
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, image.height - 22, image.width, image.height), fill=_BLACK)
    draw.text((6, image.height - 19), text, fill=_WHITE, font=_font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(14)
