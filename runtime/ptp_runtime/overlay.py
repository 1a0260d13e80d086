"""A picture that a person can look at: the photo, beside it what the task made of its stream, and the figures below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ptp_runtime.images import Pixels
from ptp_runtime.palette import voc_palette
from ptp_runtime.tasks import Classification, Detections, Segmentation, TaskOutput

LARGEST_PANEL = 1024
"""Longest side of one of the two panels, pixels; a larger photo is shown smaller."""

SMALLEST_PANEL = 256
"""Shortest width of a panel, so that the text below fits; a smaller photo is shown enlarged."""

SHOWN_SHARE = 0.001
"""Classes that cover less of the mask than this are left out of the legend."""

SHOWN_SCORE = 0.3
"""Boxes below this score are not drawn; they are in the results all the same."""

_TEXT_SIZE = 15
_LINE = 22
_MARGIN = 8
_OPACITY = 0.55
_WHITE, _BLACK, _GREY = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class _Entry:
    """One entry of the legend: a colour and a text."""

    colour: tuple[int, int, int]
    text: str


def overlay(photo: Pixels, output: TaskOutput, lines: Sequence[str]) -> Image.Image:
    """The picture.

    Args:
        photo: uint8 RGB (H, W, 3).
        output: what the task made of it; a mask or boxes in the photo's pixels, classes, or a picture.
        lines: text for below, such as the bytes and the times.
    """
    if isinstance(output, Segmentation):
        result, legend = Image.fromarray(_blended(photo, output.mask)), _mask_legend(output)
    elif isinstance(output, Detections):
        result, legend = Image.fromarray(photo), _box_legend(output)
    elif isinstance(output, Classification):
        result, legend = Image.fromarray(photo), []
    else:
        result, legend = Image.fromarray(output.image), []
    width, height = _panel_size(photo.shape[1], photo.shape[0])
    left, right_panel = (_scaled(image, width, height) for image in (Image.fromarray(photo), result))
    if isinstance(output, Detections):
        # Drawn at the panel's size: lines and text of a 4000-pixel photo would vanish.
        _draw_boxes(right_panel, output, width / photo.shape[1], height / photo.shape[0])
    elif isinstance(output, Classification):
        _draw_classes(right_panel, output)
    elif isinstance(output, Segmentation):
        # Several of VOC's colours are dark: a line shows where the tint ends.
        right_panel.paste(_WHITE, mask=_contours(_scaled(Image.fromarray(output.mask), width, height, exact=True)))
    return _composed(left, right_panel, legend, lines)


def _panel_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LARGEST_PANEL / max(width, height))
    if width * scale < SMALLEST_PANEL:
        scale = min(SMALLEST_PANEL / width, LARGEST_PANEL / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scaled(image: Image.Image, width: int, height: int, *, exact: bool = False) -> Image.Image:
    """The image at the panel's size; ``exact``: no values that were not there, for class numbers."""
    if image.size == (width, height):
        return image
    nearest = exact or width >= image.width
    return image.resize((width, height), Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS)


def _contours(mask: Image.Image) -> Image.Image:
    """Two pixels along every border between two classes, as a picture of 0 and 255."""
    numbers = np.asarray(mask)
    edge = np.zeros(numbers.shape, bool)
    vertical = numbers[1:] != numbers[:-1]
    horizontal = numbers[:, 1:] != numbers[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return Image.fromarray(edge.astype(np.uint8) * np.uint8(255))


def _blended(photo: Pixels, mask: npt.NDArray[np.uint8]) -> Pixels:
    """The photo under the classes' colours; class 0, the background, stays as it is."""
    colours = _tints()[mask].astype(np.float32)
    blend = photo * np.float32(1 - _OPACITY) + colours * np.float32(_OPACITY)
    pixels: Pixels = np.where(mask[:, :, None] > 0, np.rint(blend), photo).astype(np.uint8)
    return pixels


def _mask_legend(output: Segmentation) -> list[_Entry]:
    shares = {name: share for name, share in output.shares().items() if share >= SHOWN_SHARE}
    return [
        _Entry(_colour(output.classes.index(name)), f"{name.strip('_')} {share:.1%}") for name, share in shares.items()
    ]


def _box_legend(output: Detections) -> list[_Entry]:
    labels = output.labels[output.scores >= SHOWN_SCORE]
    entries = [
        _Entry(_colour(int(label)), f"{output.classes[label]} × {int(np.count_nonzero(labels == label))}")
        for label in np.unique(labels)
    ]
    return entries or [_Entry(_GREY, f"no box with a score of {SHOWN_SCORE} or more")]


def _draw_boxes(image: Image.Image, output: Detections, scale_x: float, scale_y: float) -> None:
    draw = ImageDraw.Draw(image)
    scale = np.array([scale_x, scale_y, scale_x, scale_y])
    # The best last, on top.
    for box, score, label in list(zip(output.boxes * scale, output.scores, output.labels, strict=True))[::-1]:
        if score < SHOWN_SCORE:
            continue
        colour = _colour(int(label))
        left, top, right, bottom = (float(value) for value in box)
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
        text = f"{output.classes[label]} {score:.2f}"
        corner = (left + 3, max(0.0, top + 1))
        draw.rectangle(draw.textbbox(corner, text, _font()), fill=_BLACK)
        draw.text(corner, text, fill=_WHITE, font=_font())


def _draw_classes(image: Image.Image, output: Classification) -> None:
    """A bar for each of the likeliest classes along the lower border, as long as it is likely."""
    draw = ImageDraw.Draw(image)
    y = max(0, image.height - len(output.labels) * _LINE)
    draw.rectangle((0, y, image.width, image.height), fill=_BLACK)
    for name, label, score in zip(output.names, output.labels, output.scores, strict=True):
        draw.rectangle((0, y + 2, round(float(score) * (image.width - 1)), y + _LINE - 2), fill=_shade(int(label)))
        draw.text((_MARGIN, y + 2), f"{score:.1%}  {name}", fill=_WHITE, font=_font())
        y += _LINE


def _composed(left: Image.Image, right: Image.Image, legend: Sequence[_Entry], lines: Sequence[str]) -> Image.Image:
    """The two panels side by side on white, with legend and text below them."""
    width = left.width + right.width + 3 * _MARGIN
    rows = _legend_rows(legend, width)
    footer = (len(rows) + len(lines)) * _LINE
    canvas = Image.new("RGB", (width, left.height + 3 * _MARGIN + footer), _WHITE)
    canvas.paste(left, (_MARGIN, _MARGIN))
    canvas.paste(right, (left.width + 2 * _MARGIN, _MARGIN))
    draw = ImageDraw.Draw(canvas)
    y = left.height + 2 * _MARGIN
    for row in rows:
        for x, entry in row:
            draw.rectangle((x, y + 2, x + 14, y + 16), fill=entry.colour, outline=_GREY)
            draw.text((x + 20, y), _drawable(entry.text), fill=_BLACK, font=_font())
        y += _LINE
    for line in lines:
        draw.text((_MARGIN, y), _drawable(line), fill=_GREY, font=_font())
        y += _LINE
    return canvas


def _legend_rows(legend: Sequence[_Entry], width: int) -> list[list[tuple[int, _Entry]]]:
    """The legend's entries with their horizontal place, broken into rows that fit."""
    rows: list[list[tuple[int, _Entry]]] = []
    x = width
    for entry in legend:
        needed = 20 + int(_font().getlength(entry.text)) + 18
        if x + needed > width - _MARGIN or not rows:
            rows.append([])
            x = _MARGIN
        rows[-1].append((x, entry))
        x += needed
    return rows


def _tints() -> Pixels:
    """VOC's colours, brightened: several of them (cat: 64, 0, 0) are so dark that they only shade a photo."""
    palette = voc_palette()
    tints: Pixels = np.where(palette > 0, 127 + palette // 2, 0).astype(np.uint8)
    return tints


def _colour(label: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in _tints()[label % 256])
    return red, green, blue


def _shade(label: int) -> tuple[int, int, int]:
    """A class's colour, dark enough for white text."""
    red, green, blue = (value // 2 for value in _colour(label))
    return red, green, blue


def _drawable(text: str) -> str:
    """The text without the sign that Pillow's own font lacks."""
    return text.replace("×", "x")


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Pillow's own font: the machine's fonts differ, and a picture in a README should not.
    return ImageFont.load_default(_TEXT_SIZE)
