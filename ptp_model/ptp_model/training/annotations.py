"""COCO's ``instances`` file: read, checked, and sorted by photograph."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ptp_model.errors import ModelError

#: A box may pass its photograph's frame by this much, pixels; it is then clipped. COCO rounds to hundredths.
TOLERANCE_PX = 1.0
#: A box without area whose object was annotated with less than this, square pixels, is a slip of the pen: left out.
SPECK_PX = 1.0

Box = tuple[float, float, float, float]


class LabelError(ModelError):
    """A folder of labelled photographs that cannot be read, or whose labels contradict its photographs."""


@dataclass
class PhotoAnnotations:
    """What an ``instances`` file says of one photograph.

    Attributes:
        image_id: COCO id.
        file_name: without folders.
        height, width: pixels.
        boxes: with their category ids; crowds are left out.
        notes: the annotations themselves, crowds too, in the file's order.
    """

    image_id: int
    file_name: str
    height: int
    width: int
    boxes: list[tuple[Box, int]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)


def read_instances(path: Path, images: Path | None = None) -> tuple[PhotoAnnotations, ...]:
    """All photographs of the file by increasing id.

    Args:
        path: the file.
        images: folder of the photographs, which must all be there. Without it the file must say their sizes.

    Raises:
        LabelError: the file is missing or malformed, photographs are missing, or a box lies outside its photograph or
            has no area.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if images is not None:
            _require_photos([Path(str(row["file_name"])).name for row in document["images"]], images, path)
        photos = {int(row["id"]): _photo(row, images) for row in document["images"]}
        for note in document["annotations"]:
            photo = photos[int(note["image_id"])]
            photo.notes.append(note)
            if not note.get("iscrowd", 0):
                box = _checked_box(note, photo)
                if box is not None:
                    photo.boxes.append((box, int(note["category_id"])))
    except LabelError:
        raise
    except OSError as error:
        raise LabelError(
            f"{path.name}: cannot read it in {path.parent.name}: {error.strerror}; give a folder in COCO's layout"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LabelError(
            f"{path.name}: expected COCO's images and annotations, got {type(error).__name__} at {error}"
        ) from error
    return tuple(photos[image_id] for image_id in sorted(photos))


def names_in(folder: Path) -> set[str]:
    """Names in a folder, in one pass: asking for 118 000 files one by one takes minutes on a network disk."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _require_photos(wanted: list[str], folder: Path, listing: Path) -> None:
    there = names_in(folder)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise LabelError(
            f"{listing.name}: {len(missing)} of {len(wanted)} photographs are missing; the first is {missing[0]}, "
            f"which is not in {folder.name}/; complete the folder"
        )


def _photo(row: dict[str, Any], images: Path | None) -> PhotoAnnotations:
    name = Path(str(row["file_name"])).name
    if images is None or ("height" in row and "width" in row):
        return PhotoAnnotations(int(row["id"]), name, int(row["height"]), int(row["width"]))
    # COCO always says the size; a list written by hand may not.
    try:
        with Image.open(images / name) as image:
            return PhotoAnnotations(int(row["id"]), name, image.height, image.width)
    except (OSError, UnidentifiedImageError) as error:
        raise LabelError(f"{name}: expected a readable image, got {error}") from error


def _checked_box(note: dict[str, Any], photo: PhotoAnnotations) -> Box | None:
    """Corners (x1, y1, x2, y2) in pixels, clipped to the frame; None for a speck."""
    x, y, width, height = (float(value) for value in note["bbox"])
    name = f"annotation {note.get('id', '?')} of {photo.file_name}"
    frame = f"{photo.width} × {photo.height} pixels"
    outside = max(-x, -y, x + width - photo.width, y + height - photo.height)
    if not outside <= TOLERANCE_PX:  # written so that NaN is refused
        raise LabelError(f"{name}: expected a box inside {frame}, got {note['bbox']}; correct or remove it")
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(float(photo.width), x + width), min(float(photo.height), y + height)
    if width > 0 and height > 0 and right > left and bottom > top:
        return left, top, right, bottom
    # COCO 2017 itself holds a few of no height; they must not stop a run.
    if width >= 0 and height >= 0 and float(note.get("area", SPECK_PX)) < SPECK_PX:
        return None
    raise LabelError(f"{name}: expected a box with an area, got {note['bbox']}; correct or remove it")
