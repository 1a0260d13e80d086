"""Classes against the teacher's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptp_export.evaluation.curves.bootstrap import Estimate, mean_estimate
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_runtime.tasks import Classification, TaskOutput


@dataclass(frozen=True)
class ClassificationRecord:
    """One photograph.

    Attributes:
        agrees: whether the likeliest class is the teacher's.
        in_five: whether the teacher's class is among the five likeliest.
        teacher_class: name of the teacher's class.
    """

    agrees: bool
    in_five: bool
    teacher_class: str


class ClassificationMeasure:
    """Share of photographs with the teacher's class. No label is read: none of the layouts has ImageNet's classes."""

    fidelity = "top1_agreement"
    metric = ""
    words = {  # noqa: RUF012  # the protocol's; nothing writes to it
        "top1_agreement": "likeliest class is the teacher's",
        "top5_agreement": "teacher's class among the five likeliest",
    }

    def labels(self, photo: EvaluationPhoto) -> None:
        """None."""

    def record(self, output: TaskOutput, teacher: TaskOutput, labels: None) -> ClassificationRecord:
        """See the protocol; both outputs are :class:`~ptp_runtime.tasks.Classification`."""
        if not isinstance(output, Classification) or not isinstance(teacher, Classification):
            raise TypeError(f"expected classes, got {type(output).__name__} and {type(teacher).__name__}")
        wanted = int(teacher.probabilities.argmax())
        order = np.argsort(-output.probabilities, kind="stable")
        return ClassificationRecord(int(order[0]) == wanted, wanted in order[:5], teacher.classes[wanted])

    def summary(self, records: Sequence[ClassificationRecord], counts: NDArray[np.int64]) -> dict[str, Estimate]:
        """See the protocol."""
        return {
            "top1_agreement": mean_estimate(np.array([float(r.agrees) for r in records]), counts),
            "top5_agreement": mean_estimate(np.array([float(r.in_five) for r in records]), counts),
        }

    def photos_of_classes(self, records: Sequence[ClassificationRecord]) -> dict[str, dict[str, int]]:
        """See the protocol."""
        found = Counter(record.teacher_class for record in records)
        return {name: {"teacher": count, "labels": 0} for name, count in sorted(found.items())}
