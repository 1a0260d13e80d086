"""The results of decoding, one dataclass a task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Segmentation:
    """A class for each pixel of the photo.

    Attributes:
        mask: uint8 (H, W), class numbers.
        classes: the names; ``classes[mask[y, x]]`` is the pixel's.
    """

    mask: npt.NDArray[np.uint8]
    classes: tuple[str, ...]

    def shares(self) -> dict[str, float]:
        """Share of the pixels of each class that occurs, 0..1, the largest first."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes))
        order = np.argsort(-counts, kind="stable")
        return {self.classes[i]: float(counts[i] / self.mask.size) for i in order if counts[i]}


@dataclass(frozen=True)
class Detections:
    """Boxes in the photo, the best first.

    Attributes:
        boxes: float32 (n, 4): left, top, right, bottom in pixels of the photo, inside it.
        scores: float32 (n,), 0..1, descending.
        labels: int64 (n,), class numbers.
        classes: the names by class number.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """A picture for people: uint8 RGB (H, W, 3)."""

    image: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Classification:
    """What the whole photo shows, the likeliest classes first.

    Attributes:
        labels: int64 (top,), class numbers by decreasing probability.
        scores: float32 (top,), their probabilities.
        probabilities: float32 (classes,), of every class; they sum to 1.
        classes: the names by class number.
    """

    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the likeliest classes, in the order of ``labels``."""
        return tuple(self.classes[label] for label in self.labels)


TaskOutput = Segmentation | Detections | View | Classification
