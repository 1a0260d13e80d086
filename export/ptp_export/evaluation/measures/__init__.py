"""How well an output serves a task: one file a task, all behind one protocol."""

from __future__ import annotations

from ptp_export.evaluation.measures.classification import ClassificationMeasure
from ptp_export.evaluation.measures.detection import DetectionMeasure
from ptp_export.evaluation.measures.protocol import Measure
from ptp_export.evaluation.measures.segmentation import SegmentationMeasure
from ptp_runtime.errors import UsageError

__all__ = ["Measure", "measure_of"]


def measure_of(task: str, classes: tuple[str, ...]) -> Measure:
    """The measure of a task.

    Args:
        task: ``seg``, ``det`` or ``cls``.
        classes: names by class number.

    Raises:
        UsageError: a task without one.
        MissingExtraError: its library is not installed.
    """
    if task == "seg":
        return SegmentationMeasure(classes)
    if task == "det":
        return DetectionMeasure(classes)
    if task == "cls":
        return ClassificationMeasure()
    raise UsageError(f"the task {task!r} cannot be evaluated", expected="seg, det or cls", got=task)
