"""Figures for masks and boxes, in numpy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class MaskFigures:
    """Attributes:
    mean_iou: mean over the classes that occur in the truth or in the prediction.
    mean_iou_present: mean over the classes that occur in the truth.
    pixel_accuracy: part of the labelled pixels that are right.
    class_iou: per class, NaN where it neither occurs nor is predicted.
    """

    mean_iou: float
    mean_iou_present: float
    pixel_accuracy: float
    class_iou: tuple[float, ...]


class Confusion:
    """Counts of (true class, predicted class) over labelled pixels."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), dtype=np.int64)

    def add(self, truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.integer[Any]]) -> None:
        """Add one photograph; pixels whose truth is no class are ignored."""
        classes = len(self.counts)
        known = truth < classes
        pairs = truth[known].astype(np.int64) * classes + prediction[known].astype(np.int64)
        self.counts += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def figures(self) -> MaskFigures:
        """Raises ValueError when nothing was added."""
        if not self.counts.any():
            raise ValueError("no labelled pixel was compared; add photographs with a mask")
        hit = np.diag(self.counts).astype(np.float64)
        present = self.counts.sum(1)
        union = present + self.counts.sum(0) - hit
        iou = np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)
        return MaskFigures(
            mean_iou=float(np.nanmean(iou)),
            mean_iou_present=float(iou[present > 0].mean()),
            pixel_accuracy=float(hit.sum() / self.counts.sum()),
            class_iou=tuple(float(value) for value in iou),
        )


Floats = npt.NDArray[np.floating[Any]]


def iou_matrix(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    """Intersection over union of (x1, y1, x2, y2) boxes, [n, m]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(2).astype(np.float64)
    area = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1) for boxes in (first, second)]
    union = area[0][:, None] + area[1][None, :] - overlap
    iou: npt.NDArray[np.float64] = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return iou


def average_precision(photos: Iterable[tuple[Floats, Floats, Floats]], iou_threshold: float = 0.5) -> float:
    """Average precision of one class, the area under the interpolated precision-recall curve (all-point VOC rule).

    Args:
        photos: per photograph, predicted boxes [n, 4], their scores [n], and true boxes [m, 4].

    Returns:
        0..1, or NaN when no photograph has a true box.
    """
    scores: list[float] = []
    hits: list[bool] = []
    total = 0
    for boxes, confidence, truth in photos:
        total += len(truth)
        free = np.ones(len(truth), dtype=bool)
        overlap = iou_matrix(boxes, truth)
        for index in np.argsort(-confidence, kind="stable"):
            scores.append(float(confidence[index]))
            candidates = np.where(free, overlap[index], -1.0)
            best = int(candidates.argmax()) if len(truth) else -1
            hit = best >= 0 and candidates[best] >= iou_threshold
            if hit:
                free[best] = False
            hits.append(bool(hit))
    if total == 0:
        return float("nan")
    order = np.argsort(-np.asarray(scores), kind="stable")
    found = np.cumsum(np.asarray(hits, dtype=np.float64)[order])
    recall = found / total
    precision = found / np.arange(1, len(found) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision)) if len(found) else 0.0
