"""Labelled photographs: COCO boxes and PASCAL VOC masks, read from a folder, and the one rule that splits them.

A folder holds ``images/*.jpg``, ``instances.json`` (COCO's format) and, for some photographs, ``masks/<same
stem>.png`` (one channel, the VOC class of every pixel, 255 = ignore).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ptp_model.errors import ModelError

Pixels = npt.NDArray[np.uint8]

HOLD_OUT_MODULUS = 5
HOLD_OUT_REMAINDER = 1

IGNORE = 255


class LabelError(ModelError):
    """A folder of labelled photographs that cannot be read, or whose labels contradict its photographs."""


def is_held_out(image_id: int) -> bool:
    """Whether a labelled photograph is for evaluation only: its COCO id leaves remainder 1 when divided by 5.

    A rule on the id alone keeps one photograph on one side for every task, whatever else lies in the folder. Heads,
    codec and prompts must all keep to it.
    """
    return image_id % HOLD_OUT_MODULUS == HOLD_OUT_REMAINDER


@dataclass(frozen=True)
class LabelledPhoto:
    """One photograph and its labels; pixels are read when asked for.

    Attributes:
        image_id: COCO id.
        image_path: the photograph.
        mask_path: its mask, or None when there is none.
        boxes: float32 [n, 4], (x1, y1, x2, y2) in pixels, crowds left out.
        labels: int64 [n], COCO category ids.
    """

    image_id: int
    image_path: Path
    mask_path: Path | None
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @property
    def held_out(self) -> bool:
        return is_held_out(self.image_id)

    def image(self) -> Pixels:
        """RGB uint8 [H, W, 3]."""
        return _read(self.image_path, "RGB")

    def mask(self) -> Pixels:
        """VOC classes uint8 [H, W], 255 = ignore.

        Raises:
            LabelError: the photograph has no mask, or one of another size.
        """
        if self.mask_path is None:
            raise LabelError(f"photograph {self.image_id}: expected a mask, got none; choose photographs with a mask")
        return _read(self.mask_path, "")


def read_labelled(folder: Path) -> tuple[LabelledPhoto, ...]:
    """All photographs of the folder by increasing id.

    Raises:
        LabelError: ``instances.json`` is missing or malformed, or names a photograph that is not there.
    """
    path = folder / "instances.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = sorted(document["images"], key=lambda row: int(row["id"]))
        boxes_of: dict[int, list[tuple[list[float], int]]] = {int(row["id"]): [] for row in rows}
        for note in document["annotations"]:
            if not note.get("iscrowd", 0):
                boxes_of[int(note["image_id"])].append(_corners(note))
    except OSError as error:
        raise LabelError(
            f"{path.name}: cannot read it in {folder.name}: {error.strerror}; give a folder in COCO's layout"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(
            f"{path.name}: expected COCO's images and annotations, got {type(error).__name__} at {error}"
        ) from error
    photos = []
    for row in rows:
        image_path = folder / "images" / str(row["file_name"])
        if not image_path.is_file():
            raise LabelError(f"{path.name}: names {image_path.name}, which is not in images/; complete the folder")
        mask_path = folder / "masks" / (image_path.stem + ".png")
        found = boxes_of[int(row["id"])]
        photos.append(
            LabelledPhoto(
                image_id=int(row["id"]),
                image_path=image_path,
                mask_path=mask_path if mask_path.is_file() else None,
                boxes=np.array([box for box, _ in found], dtype=np.float32).reshape(-1, 4),
                labels=np.array([label for _, label in found], dtype=np.int64),
            )
        )
    return tuple(photos)


def _corners(note: dict[str, Any]) -> tuple[list[float], int]:
    x, y, width, height = (float(value) for value in note["bbox"])
    return [x, y, x + width, y + height], int(note["category_id"])


def _read(path: Path, mode: str) -> Pixels:
    try:
        with Image.open(path) as image:
            if not mode and image.mode not in ("L", "P"):
                raise LabelError(f"{path.name}: expected a mask of one 8-bit channel, got mode {image.mode}")
            return np.asarray(image.convert(mode) if mode else image, dtype=np.uint8)
    except (OSError, UnidentifiedImageError) as error:
        raise LabelError(f"{path.name}: expected a readable image, got {error}") from error


@dataclass(frozen=True)
class Cutout:
    """An object freed from its background, to be pasted into other photographs.

    Attributes:
        rgb: uint8 [h, w, 3].
        alpha: uint8 [h, w], 255 where the object is opaque.
        label: its VOC class.
    """

    rgb: Pixels
    alpha: Pixels
    label: int


def read_cutouts(listing: Path) -> tuple[Cutout, ...]:
    """Cut-outs named by a JSON file: ``{"file of an RGBA picture, relative to the listing": VOC class, ...}``.

    Raises:
        LabelError: the listing or a picture cannot be read.
    """
    try:
        entries = sorted(
            (str(name), int(label)) for name, label in json.loads(listing.read_text(encoding="utf-8")).items()
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise LabelError(
            f"{listing.name}: expected a JSON object of file names and VOC classes, got {error}"
        ) from error
    cutouts = []
    for name, label in entries:
        rgba = _read(listing.parent / name, "RGBA")
        cutouts.append(Cutout(rgb=rgba[..., :3], alpha=rgba[..., 3], label=label))
    return tuple(cutouts)
