"""The photographs that ``ptp train`` was given: gathered, freed of what is held out, and checked against the split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ptp_model.training import split
from ptp_model.training.box_crops import Annotated, BoxCrops
from ptp_model.training.data import LabelledPhoto, read_labelled
from ptp_model.training.photo_store import PhotoStore, photo_files, read_photo, size_of
from ptp_model.training.resized_crops import ResizedCrops
from ptp_model.training.stage2 import BatchSource, MaskedCrops, MaskReader
from ptp_runtime.errors import UsageError


@dataclass(frozen=True)
class TrainingPhotos:
    """What may be learned from.

    Attributes:
        labelled: photographs with labels, by increasing id.
        bare: files of the others, in sorted order.
        held_out: file stems that were left out, now and by the runs before.
    """

    labelled: tuple[LabelledPhoto, ...]
    bare: tuple[Path, ...]
    held_out: frozenset[str]

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*(photo.image_path for photo in self.labelled), *self.bare]


def gather(
    folders: Sequence[Path], labelled: Path | None, held_out: frozenset[str], masks: bool = False
) -> TrainingPhotos:
    """All photographs of the folders that may be learned from.

    Args:
        folders: of photographs.
        labelled: folder of labelled photographs; its held-out part is left out.
        held_out: stems that earlier runs left out.
        masks: whether masks will be needed.

    Raises:
        UsageError: no folder was given.
        ptp_model.errors.ModelError: labels that cannot be read, or a photograph that the split reserves.
    """
    if not folders and labelled is None:
        raise UsageError(
            "no photographs",
            expected="--photos DIR or --labelled DIR",
            hint="python -m ptp_model.training.photos --help says how to fetch some",
        )
    known = read_labelled(labelled, masks) if labelled is not None else ()
    left_out = held_out | {photo.image_path.stem for photo in known if photo.held_out}
    found = TrainingPhotos(
        labelled=tuple(photo for photo in known if photo.image_path.stem not in left_out),
        bare=tuple(path for path in photo_files(folders) if path.stem not in left_out),
        held_out=left_out,
    )
    split.refuse_reserved(found.files)
    return found


def batches_of(photos: TrainingPhotos, task: str, side: int, seed: int) -> tuple[BatchSource, int]:
    """What stage 2 of a task learns from, and of how many photographs.

    Args:
        side: of the crops, pixels; photographs without labels that are smaller are passed over.

    Raises:
        UsageError: no photograph is left.
    """
    bare = [path for path in photos.bare if min(size_of(path)) >= side]
    images = PhotoStore([*(photo.image for photo in photos.labelled), *(partial(read_photo, path) for path in bare)])
    if not len(images):
        raise UsageError(
            "no photographs", expected="--photos DIR or --labelled DIR with some", hint="see ptp train --help"
        )
    if task == "cls":
        return ResizedCrops(images, side, seed), len(images)
    if task == "det" and photos.labelled:
        annotated: list[Annotated | None] = [(photo.boxes, photo.labels) for photo in photos.labelled]
        return BoxCrops(images, [*annotated, *[None] * len(bare)], side, seed), len(images)
    with_mask = [photo.mask if photo.has_mask and task == "seg" else None for photo in photos.labelled]
    kept = PhotoStore([read for read in with_mask if read is not None])
    numbers = iter(range(len(kept)))
    masks: list[MaskReader | None] = [
        None if read is None else partial(kept.__getitem__, next(numbers)) for read in with_mask
    ]
    return MaskedCrops(images, [*masks, *[None] * len(bare)], side, seed), len(images)
