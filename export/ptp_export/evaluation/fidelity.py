"""Agreement with the teacher's own answer on the uncompressed photo. Needs no labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def mean_iou(teacher: Mask, student: Mask) -> float:
    """Intersection over union, averaged over the classes either mask shows, 0..1. Both uint8 [H, W]."""
    _require_same_shape(teacher, student)
    classes = np.union1d(teacher, student)
    scores = []
    for label in classes:
        a, b = teacher == label, student == label
        scores.append((a & b).sum() / (a | b).sum())
    return float(np.mean(scores))


def feature_error(h: NDArray[np.float32], h_hat: NDArray[np.float32]) -> float:
    """‖h - ĥ‖² / ‖h - mean(h)‖², the mean per channel; 0 is perfect, 1 is no better than the mean.

    Args:
        h, h_hat: float32 [1, F, rows, columns].
    """
    spread = np.square(h - h.mean((2, 3), keepdims=True), dtype=np.float64).sum()
    return float(np.square(h - h_hat, dtype=np.float64).sum() / max(spread, np.finfo(np.float64).tiny))


def _require_same_shape(a: Mask, b: Mask) -> None:
    if a.shape != b.shape:
        raise ValueError(f"masks of one photo: expected equal shapes, got {a.shape} and {b.shape}")
