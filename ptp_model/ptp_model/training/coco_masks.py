"""Masks of the 21 VOC classes, drawn from COCO's polygons and run lengths. The only file that needs ``pycocotools``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptp_model.errors import MissingLibraryError
from ptp_model.training.annotations import LabelError, PhotoAnnotations
from ptp_model.training.data import IGNORE, Pixels

#: COCO category id → VOC class, for the 20 objects that both know (the order of VOC's alphabet).
VOC_OF_COCO = {
    category: voc
    for voc, category in enumerate((5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72), start=1)
}


@dataclass(frozen=True)
class Region:
    """The pixels of one object or crowd.

    Attributes:
        run_lengths: COCO's compressed run lengths.
        area: pixels.
        value: what a mask shows there: the VOC class, 255 for a crowd.
    """

    run_lengths: bytes
    area: int
    value: int


def _library() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingLibraryError(
            'masks from COCO\'s polygons: expected pycocotools, got none; pip install "ptp-deploy[train]"'
        ) from error
    return mask


def regions_of(photo: PhotoAnnotations) -> tuple[Region, ...]:
    """What a photograph's mask is drawn from, in the order of drawing; objects that VOC does not know are left out.

    Crowds come first, then objects from the largest to the smallest, so that a smaller one lies on top.

    Raises:
        LabelError: a polygon or run length that cannot be drawn, or of another size than the photograph.
        MissingLibraryError: pycocotools is not installed.
    """
    library = _library()
    found = []
    for note in photo.notes:
        voc = VOC_OF_COCO.get(int(note["category_id"]))
        if voc is not None:
            runs = _run_lengths(note, photo, library)
            region = Region(runs["counts"], int(library.area(runs)), IGNORE if note.get("iscrowd", 0) else voc)
            found.append(region)
    return tuple(sorted(found, key=lambda region: (region.value != IGNORE, -region.area)))


def draw(regions: Sequence[Region], height: int, width: int) -> Pixels:
    """The mask, uint8 [height, width]: VOC classes, 0 where nothing is, 255 = ignore."""
    library = _library()
    mask = np.zeros((height, width), dtype=np.uint8)
    for region in regions:
        inside = library.decode({"size": [height, width], "counts": region.run_lengths})
        mask[inside.astype(bool)] = region.value
    return mask


def _run_lengths(note: dict[str, Any], photo: PhotoAnnotations, library: Any) -> dict[str, Any]:
    shape = note.get("segmentation")
    name = f"annotation {note.get('id', '?')} of {photo.file_name}"
    try:
        if isinstance(shape, dict):
            if list(shape["size"]) != [photo.height, photo.width]:
                raise LabelError(
                    f"{name}: expected a region of {photo.height} × {photo.width} pixels, got {shape['size']}"
                )
            if not isinstance(shape["counts"], list):
                counts = shape["counts"]
                text = counts.encode() if isinstance(counts, str) else bytes(counts)
                return {"size": [photo.height, photo.width], "counts": text}
            if sum(shape["counts"]) != photo.height * photo.width:
                raise ValueError("the run lengths do not cover the photograph")
            return dict(library.frPyObjects(shape, photo.height, photo.width))
        # The library takes four numbers for a box and anything shorter for memory it may read.
        if not shape or any(len(polygon) < 6 or len(polygon) % 2 for polygon in shape):
            raise ValueError("a polygon of less than three points")
        polygons = [[float(value) for value in polygon] for polygon in shape]
        return dict(library.merge(library.frPyObjects(polygons, photo.height, photo.width)))
    except LabelError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{name}: expected polygons or run lengths, got {error}; correct or remove it") from error
