"""Labelled photographs: boxes and masks read from a folder in one of two layouts, and what is held out of training.

**Small.** ``images/``, ``instances.json`` (COCO's format) and, for some photographs, ``masks/<same stem>.png`` (one
channel, the VOC class of every pixel, 255 = ignore). A rule on the id says what is held out.

**COCO 2017**, as it is downloaded. ``train2017/``, ``val2017/``, ``annotations/instances_train2017.json`` and
``…_val2017.json``. ``val2017`` is held out; masks are drawn from the annotations when they are asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ptp_model.training.annotations import LabelError as LabelError
from ptp_model.training.annotations import PhotoAnnotations, names_in, read_instances

if TYPE_CHECKING:
    from ptp_model.training.coco_masks import Region

Pixels = npt.NDArray[np.uint8]

HOLD_OUT_MODULUS = 5
HOLD_OUT_REMAINDER = 1

IGNORE = 255

#: Folder → whether it is held out, of COCO 2017.
COCO_2017 = {"train2017": False, "val2017": True}


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
        mask_path: its mask, or None when there is no file of it.
        boxes: float32 [n, 4], (x1, y1, x2, y2) in pixels, crowds left out.
        labels: int64 [n], COCO category ids.
        size: height and width, pixels.
        held_out: whether it is for evaluation only.
        regions: what a mask is drawn from; None when it has none or is read from a file.
    """

    image_id: int
    image_path: Path
    mask_path: Path | None
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    size: tuple[int, int]
    held_out: bool
    regions: tuple[Region, ...] | None = None

    @property
    def has_mask(self) -> bool:
        return self.mask_path is not None or self.regions is not None

    def image(self) -> Pixels:
        """RGB uint8 [H, W, 3].

        Raises:
            LabelError: it cannot be read, or has another size than its labels say.
        """
        return self._of_size(_read(self.image_path, "RGB"), self.image_path, "photograph")

    def mask(self) -> Pixels:
        """VOC classes uint8 [H, W], 255 = ignore.

        Raises:
            LabelError: the photograph has no mask, or one of another size.
        """
        if self.regions is not None:
            from ptp_model.training.coco_masks import draw

            return draw(self.regions, *self.size)
        if self.mask_path is None:
            raise LabelError(f"photograph {self.image_id}: expected a mask, got none; choose photographs with a mask")
        return self._of_size(_read(self.mask_path, ""), self.mask_path, "mask")

    def _of_size(self, pixels: Pixels, path: Path, kind: str) -> Pixels:
        if pixels.shape[:2] != self.size:
            height, width = self.size
            raise LabelError(
                f"{path.name}: expected a {kind} of {width} × {height} pixels, "
                f"got {pixels.shape[1]} × {pixels.shape[0]}; it does not belong to these labels"
            )
        return pixels


def read_labelled(folder: Path, masks: bool = True) -> tuple[LabelledPhoto, ...]:
    """All photographs of the folder by increasing id, whichever layout it has.

    Args:
        masks: whether masks will be asked for; without, COCO 2017 needs no pycocotools.

    Raises:
        LabelError: annotations are missing or malformed, contradict their photographs, or name some that are not there.
        MissingLibraryError: COCO 2017 with masks, and pycocotools is not installed.
    """
    if (folder / "annotations").is_dir():
        return _read_coco_2017(folder, masks)
    path = folder / "instances.json"
    found = read_instances(path, folder / "images")
    in_masks = names_in(folder / "masks")
    photos = []
    for photo in found:
        mask = Path(photo.file_name).stem + ".png"
        mask_path = folder / "masks" / mask if mask in in_masks else None
        photos.append(_photo(photo, folder / "images", mask_path, is_held_out(photo.image_id)))
    return tuple(photos)


def _read_coco_2017(folder: Path, masks: bool) -> tuple[LabelledPhoto, ...]:
    # Some photographs of train2017 are in coco-mini too, whose held-out part stays what results are measured on.
    from ptp_model.training import split

    reserved = split.load().named("coco-mini", "evaluation")
    photos: list[LabelledPhoto] = []
    for name, held_out in COCO_2017.items():
        path = folder / "annotations" / f"instances_{name}.json"
        if not (folder / name).is_dir():
            continue
        found = read_instances(path, folder / name)
        for photo in found:
            kept_back = held_out or Path(photo.file_name).stem in reserved
            regions = None
            if masks:
                from ptp_model.training.coco_masks import regions_of

                regions = regions_of(photo)
            photos.append(_photo(photo, folder / name, None, kept_back, regions))
    if not photos:
        raise LabelError(f"{folder.name}: expected {' or '.join(COCO_2017)} beside annotations/, got neither")
    return tuple(sorted(photos, key=lambda photo: photo.image_id))


def _photo(
    found: PhotoAnnotations,
    folder: Path,
    mask_path: Path | None,
    held_out: bool,
    regions: tuple[Region, ...] | None = None,
) -> LabelledPhoto:
    return LabelledPhoto(
        image_id=found.image_id,
        image_path=folder / found.file_name,
        mask_path=mask_path,
        boxes=np.array([box for box, _ in found.boxes], dtype=np.float32).reshape(-1, 4),
        labels=np.array([label for _, label in found.boxes], dtype=np.int64),
        size=(found.height, found.width),
        held_out=held_out,
        regions=regions,
    )


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
