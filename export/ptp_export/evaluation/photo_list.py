"""The photographs an evaluation was given, with their labels where there are any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_export.photos import photos as shipped
from ptp_model.errors import MissingLibraryError, ModelError
from ptp_model.training import split
from ptp_model.training.annotations import read_instances
from ptp_model.training.data import LabelledPhoto, read_labelled
from ptp_model.training.photo_store import photo_files
from ptp_runtime.errors import ImageError, MissingExtraError, UsageError
from ptp_runtime.images import load_image

Mask = NDArray[np.uint8]


#: Role of the photographs that results are measured on.
EVALUATION = "evaluation"


@dataclass(frozen=True)
class EvaluationPhoto:
    """One photograph; pixels are read when asked for.

    Attributes:
        path: of the file.
        mask: reads the labelled VOC classes, uint8 [H, W], 255 = ignore; None without a mask.
        boxes: COCO annotations (``bbox``, ``category_id``, ``area``, ``iscrowd``); None without labels of boxes.
        learned_from: whether the project's table of photographs says that training may have read it.
    """

    path: Path
    mask: Callable[[], Mask] | None = None
    boxes: tuple[dict[str, Any], ...] | None = None
    learned_from: bool = False

    @property
    def name(self) -> str:
        """The file's, without folders."""
        return self.path.name

    def pixels(self) -> NDArray[np.uint8]:
        """RGB uint8 [H, W, 3]; greyscale and the like are converted.

        Raises:
            ImageError: the file is no picture, or one that the codec does not take.
        """
        return load_image(self.path, convert=True)


@dataclass(frozen=True)
class PhotoList:
    """What is evaluated on.

    Attributes:
        photos: in the order of the folders, then of ids or paths.
        source: where they came from, for the reader of a report.
    """

    photos: tuple[EvaluationPhoto, ...]
    source: str


def gather(folders: Sequence[Path], task: str, held_out: bool, limit: int | None) -> PhotoList:
    """All photographs of the folders; without a folder, the shipped parity photographs.

    Args:
        folders: of photographs, or with ``instances.json`` or ``annotations/`` (COCO) in them.
        task: whose labels are wanted.
        held_out: keep only what is known to be left out of training: labelled photographs by their folder's rule,
            others where the project's table reserves them for evaluation.
        limit: keep only so many, spread evenly; None: all.

    Raises:
        UsageError: no photograph, or labels that cannot be read.
        MissingExtraError: masks have to be drawn and pycocotools is not installed.
    """
    found: list[EvaluationPhoto] = []
    try:
        for folder in folders:
            found += _from_folder(folder, task, held_out)
        if not folders and not held_out:
            found = [_bare(photo.path) for photo in shipped("parity")]
    except MissingLibraryError as error:
        raise MissingExtraError(str(error), hint="pip install 'ptp-deploy[eval]'") from error
    except ModelError as error:
        raise UsageError("the photographs' labels cannot be used", got=str(error)) from error
    if not found:
        raise UsageError(
            "no photographs to evaluate on",
            expected="photographs known to be held out" if held_out else "JPEG, PNG or WebP files",
            got=", ".join(folder.name for folder in folders) or "no --data",
            hint="give --data FOLDER" + (" in COCO's layout" if held_out else ""),
        )
    if limit is not None and limit < len(found):
        # Evenly spread: neighbours in a folder resemble each other.
        found = [found[k * len(found) // limit] for k in range(limit)]
    source = ", ".join(folder.name for folder in folders) or "the shipped parity photographs"
    return PhotoList(tuple(found), source + (", held-out photographs only" if held_out else ""))


def is_labelled(folder: Path) -> bool:
    """Whether a folder has one of COCO's layouts."""
    return (folder / "instances.json").is_file() or (folder / "annotations").is_dir()


def _from_folder(folder: Path, task: str, held_out: bool) -> list[EvaluationPhoto]:
    if not is_labelled(folder):
        return [_bare(path) for path in photo_files([folder]) if not held_out or EVALUATION in _roles(path)]
    boxes = _boxes(folder) if task == "det" else {}
    photos = []
    for photo in read_labelled(folder, masks=task == "seg"):
        if photo.held_out or not held_out:
            mask = photo.mask if task == "seg" and photo.has_mask else None
            learned = not photo.held_out and _learned_from(photo.image_path)
            photos.append(EvaluationPhoto(photo.image_path, mask, _own(boxes, photo), learned))
    return photos


def _boxes(folder: Path) -> dict[int, tuple[dict[str, Any], ...]]:
    """Annotations by photograph, crowds too: a box inside a crowd must count for nothing, not for a mistake."""
    files = [folder / "instances.json"] if (folder / "instances.json").is_file() else []
    files += sorted((folder / "annotations").glob("instances_*.json"))
    return {photo.image_id: tuple(photo.notes) for path in files for photo in read_instances(path)}


def _own(boxes: dict[int, tuple[dict[str, Any], ...]], photo: LabelledPhoto) -> tuple[dict[str, Any], ...] | None:
    return boxes.get(photo.image_id) if boxes else None


def _bare(path: Path) -> EvaluationPhoto:
    return EvaluationPhoto(path, learned_from=_learned_from(path))


def _learned_from(path: Path) -> bool:
    return bool(_roles(path) & split.TRAINING)


def _roles(path: Path) -> frozenset[str]:
    """What the project's table of photographs allows; empty for one that it does not hold."""
    try:
        digest = split.sha256_of(path)
    except OSError as error:
        raise ImageError(f"{path.name} cannot be read", got=error.strerror or str(error)) from error
    return frozenset(split.load().roles_of(digest))
