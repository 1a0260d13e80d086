"""Random crops of labelled photographs, with objects pasted in (Ghiasi et al., arXiv 2012.07177), in numpy and Pillow.

Everything draws from one ``numpy`` generator, so a seed fixes a pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ptp_model.training.data import IGNORE, Cutout, Pixels

#: Alpha above which a pasted pixel takes the object's class; between the two it is ignored.
OPAQUE = 160
TRANSPARENT = 32

#: How often a crop loses its colours.
GREY_PROBABILITY = 0.1


@dataclass(frozen=True)
class CropConfig:
    """How a training crop is made.

    Attributes:
        side_px: side of the square crop.
        short_side_px: range of the photograph's shorter side after scaling, drawn log-uniformly.
        paste_probability: chance of each of two objects to be pasted.
        paste_extent: range of a pasted object's longer side, as a part of the crop's side, drawn log-uniformly.
        jitter: largest relative change of brightness, contrast and saturation.
    """

    side_px: int = 320
    short_side_px: tuple[int, int] = (220, 800)
    paste_probability: float = 0.5
    paste_extent: tuple[float, float] = (0.25, 2.0)
    jitter: float = 0.25


@dataclass(frozen=True)
class BoxCropConfig:
    """How a training crop for boxes is made.

    Attributes:
        side_px: side of the square crop.
        short_side_px: range of the photograph's shorter side after scaling, drawn log-uniformly.
        least_visible: a box is kept when at least this part of its area lies inside the crop.
        least_side_px: and its clipped sides are at least this long.
        jitter: largest relative change of brightness, contrast and saturation.
    """

    side_px: int = 320
    short_side_px: tuple[int, int] = (220, 560)
    least_visible: float = 0.35
    least_side_px: float = 8.0
    jitter: float = 0.25


def log_uniform(low: float, high: float, random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def random_crop(
    image: Pixels, mask: Pixels, config: CropConfig, random: np.random.Generator, focus: int | None = None
) -> tuple[Pixels, Pixels]:
    """Scale, flip and cut out a square; what lies beyond the photograph is grey and ignored.

    Args:
        focus: a class; the crop's centre is then drawn from its pixels, when it has any.

    Returns:
        RGB uint8 [s, s, 3] and classes uint8 [s, s].
    """
    height, width = mask.shape
    scale = log_uniform(*config.short_side_px, random) / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    if random.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    side = config.side_px
    centre = None
    if focus is not None:
        rows, columns = np.nonzero(mask == focus)
        if rows.size:
            chosen = random.integers(rows.size)
            centre = (int(rows[chosen]), int(columns[chosen]))
    corner = []
    for axis, length in enumerate(mask.shape):
        spare = length - side
        low, high = min(0, spare), max(0, spare)
        if centre is None:
            corner.append(int(random.integers(low, high + 1)))
        else:
            corner.append(int(np.clip(centre[axis] - random.integers(side // 4, 3 * side // 4 + 1), low, high)))
    out_image = np.full((side, side, 3), 127, dtype=np.uint8)
    out_mask = np.full((side, side), IGNORE, dtype=np.uint8)
    top, left = corner
    source = (slice(max(0, top), min(size[1], top + side)), slice(max(0, left), min(size[0], left + side)))
    target = tuple(slice(part.start - start, part.stop - start) for part, start in zip(source, corner, strict=True))
    out_image[target] = image[source]
    out_mask[target] = mask[source]
    return out_image, out_mask


def paste(image: Pixels, mask: Pixels, cutout: Cutout, config: CropConfig, random: np.random.Generator) -> None:
    """Put an object somewhere into a crop, in place; at most half of it may fall outside along each axis."""
    side = config.side_px
    height, width = cutout.alpha.shape
    scale = log_uniform(*config.paste_extent, random) * side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rgb = np.asarray(Image.fromarray(cutout.rgb).resize(size, Image.Resampling.BILINEAR))
    alpha = np.asarray(Image.fromarray(cutout.alpha).resize(size, Image.Resampling.BILINEAR))
    if random.random() < 0.5:
        rgb, alpha = rgb[:, ::-1], alpha[:, ::-1]
    top, left = (int(random.integers(-(n // 2), side - n + n // 2 + 1)) for n in alpha.shape)
    inside = (slice(max(0, -top), side - top), slice(max(0, -left), side - left))
    rgb, alpha = rgb[inside], alpha[inside]
    rows = slice(max(0, top), max(0, top) + alpha.shape[0])
    columns = slice(max(0, left), max(0, left) + alpha.shape[1])
    weight = alpha[..., None].astype(np.float32) / 255
    mixed = weight * rgb + (1 - weight) * image[rows, columns]
    image[rows, columns] = np.rint(mixed).astype(np.uint8)
    under = mask[rows, columns]
    under[alpha >= TRANSPARENT] = IGNORE
    under[alpha >= OPAQUE] = cutout.label


def jitter(image: Pixels, amount: float, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Brightness per colour channel, contrast and saturation, now and then no colour at all.

    uint8 [H, W, 3] to float32 in 0..1.
    """
    brightness, contrast, saturation = 1 + random.uniform(-amount, amount, 3)
    if random.random() < GREY_PROBABILITY:
        saturation = 0.0
    gains = brightness * (1 + random.uniform(-amount / 2, amount / 2, 3))
    pixels = image.astype(np.float32) / 255 * gains.astype(np.float32)
    pixels = (pixels - pixels.mean()) * contrast + pixels.mean()
    grey = pixels.mean(axis=2, keepdims=True)
    changed: npt.NDArray[np.float32] = np.clip((pixels - grey) * saturation + grey, 0, 1).astype(np.float32)
    return changed


def cut(image: Pixels, mask: Pixels, label: int, least_pixels: int = 2500) -> Cutout | None:
    """The pixels of one class as an object to paste; None when there are fewer than ``least_pixels``."""
    inside = mask == label
    if int(inside.sum()) < least_pixels:
        return None
    rows, columns = np.nonzero(inside)
    box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    return Cutout(rgb=image[box].copy(), alpha=(inside[box] * 255).astype(np.uint8), label=label)


def random_box_crop(
    image: Pixels,
    boxes: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    config: BoxCropConfig,
    random: np.random.Generator,
) -> tuple[Pixels, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scale, flip and cut out a square with its boxes; what lies beyond the photograph is grey.

    Returns:
        RGB uint8 [s, s, 3], boxes float32 [m, 4] in the crop's pixels, and their labels [m].
    """
    height, width = image.shape[:2]
    scale = log_uniform(*config.short_side_px, random) / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    boxes = boxes * np.array([size[0] / width, size[1] / height] * 2, dtype=np.float32)
    if random.random() < 0.5:
        image = image[:, ::-1]
        boxes = np.stack([size[0] - boxes[:, 2], boxes[:, 1], size[0] - boxes[:, 0], boxes[:, 3]], axis=1)
    side = config.side_px
    left, top = (int(random.integers(min(0, length - side), max(0, length - side) + 1)) for length in size)
    crop = np.full((side, side, 3), 127, dtype=np.uint8)
    rows, columns = (slice(max(0, start), min(n, start + side)) for start, n in ((top, size[1]), (left, size[0])))
    crop[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    boxes = boxes - np.array([left, top, left, top], dtype=np.float32)
    clipped = np.clip(boxes, 0, side)
    sides = clipped[:, 2:] - clipped[:, :2]
    visible = sides.prod(1) / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
    kept = (visible >= config.least_visible) & (sides.min(1, initial=np.inf) >= config.least_side_px)
    return crop, clipped[kept].astype(np.float32), labels[kept]
