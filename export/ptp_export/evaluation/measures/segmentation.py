"""Masks against the teacher's and against labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptp_export.evaluation.curves.bootstrap import Estimate, estimate, mean_estimate
from ptp_export.evaluation.fidelity import mean_iou
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_runtime.tasks import Segmentation, TaskOutput

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class SegmentationRecord:
    """One photograph.

    Attributes:
        teacher: pixels by the teacher's class and the codec's, int64 [C, C].
        labels: likewise by the labelled class; None without a mask.
        photo_iou: mean IoU with the teacher's mask over the classes of either, 0..1.
    """

    teacher: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    photo_iou: float


def confusion(truth: Mask, found: Mask, classes: int) -> NDArray[np.int64]:
    """Pixels by true and found class, [C, C]; those whose truth is no class (255: ignore) are left out."""
    if truth.shape != found.shape:
        raise ValueError(f"masks of one photograph: expected equal shapes, got {truth.shape} and {found.shape}")
    known = truth < classes
    pairs = truth[known].astype(np.int64) * classes + found[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def mean_ious(confusions: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean IoU over the classes that occur in the truth, of the confusions summed over photographs.

    A class that is found where it is not costs the class that is there, so nothing goes unpunished; but the mean stays
    over the same classes for every codec.

    Args:
        confusions: int64 [photos, C, C].
        counts: how often each photograph occurs, int64 [n, photos].

    Returns:
        float64 [n], 0..1; NaN where no pixel has a true class.
    """
    classes = confusions.shape[1]
    total = (counts @ confusions.reshape(len(confusions), -1)).reshape(-1, classes, classes)
    hit = np.diagonal(total, axis1=1, axis2=2).astype(np.float64)
    present = total.sum(2)
    union = present + total.sum(1) - hit
    iou = np.divide(hit, union, out=np.zeros_like(hit), where=union > 0)
    among = (present > 0).sum(1)
    summed = (iou * (present > 0)).sum(1)
    return np.divide(summed, among, out=np.full(len(summed), np.nan), where=among > 0)


class SegmentationMeasure:
    """Mean IoU over 21 classes and agreement of pixels.

    Args:
        classes: names by class number.
    """

    fidelity = "teacher_miou"
    metric = "miou"
    words = {  # noqa: RUF012  # the protocol's; nothing writes to it
        "teacher_miou": "mIoU with the teacher's masks, over the set",
        "teacher_photo_miou": "mIoU with the teacher's mask, mean of photographs",
        "pixel_agreement": "pixels with the teacher's class, mean of photographs",
        "miou": "mIoU with the labelled masks, over the set",
    }

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes

    def labels(self, photo: EvaluationPhoto) -> Mask | None:
        """The labelled mask, uint8 [H, W]."""
        return None if photo.mask is None else photo.mask()

    def record(self, output: TaskOutput, teacher: TaskOutput, labels: Mask | None) -> SegmentationRecord:
        """See the protocol; both outputs are :class:`~ptp_runtime.tasks.Segmentation`."""
        if not isinstance(output, Segmentation) or not isinstance(teacher, Segmentation):
            raise TypeError(f"expected masks, got {type(output).__name__} and {type(teacher).__name__}")
        classes = len(self._classes)
        labelled = None if labels is None else confusion(labels, output.mask, classes)
        own = confusion(teacher.mask, output.mask, classes)
        return SegmentationRecord(own, labelled, mean_iou(teacher.mask, output.mask))

    def summary(self, records: Sequence[SegmentationRecord], counts: NDArray[np.int64]) -> dict[str, Estimate]:
        """See the protocol."""
        own = np.stack([record.teacher for record in records])
        agreement = np.trace(own, axis1=1, axis2=2) / own.sum((1, 2))
        found = {
            "teacher_miou": estimate(lambda n: mean_ious(own, n), counts),
            "teacher_photo_miou": mean_estimate(np.array([record.photo_iou for record in records]), counts),
            "pixel_agreement": mean_estimate(agreement, counts),
        }
        if any(record.labels is not None for record in records):
            nothing = np.zeros_like(own[0])
            labelled = np.stack([nothing if record.labels is None else record.labels for record in records])
            found["miou"] = estimate(lambda n: mean_ious(labelled, n), counts)
        return found

    def photos_of_classes(self, records: Sequence[SegmentationRecord]) -> dict[str, dict[str, int]]:
        """See the protocol."""
        teacher = _shown([record.teacher for record in records], len(self._classes))
        labels = _shown([record.labels for record in records if record.labels is not None], len(self._classes))
        return {
            name: {"teacher": int(a), "labels": int(b)}
            for name, a, b in zip(self._classes, teacher, labels, strict=True)
        }


def _shown(confusions: Sequence[NDArray[np.int64]], classes: int) -> NDArray[np.int64]:
    """In how many of the confusions each true class occurs, [C]."""
    counts = np.zeros(classes, np.int64)
    for each in confusions:
        counts += each.sum(1) > 0
    return counts
