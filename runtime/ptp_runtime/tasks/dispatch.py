"""Which post-processing belongs to which task."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy.typing as npt

from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import ClassificationParameters, DetectionParameters, SegmentationParameters, TaskInfo
from ptp_runtime.tasks.classification import classification_from_logits
from ptp_runtime.tasks.detection import detections_from_raw
from ptp_runtime.tasks.results import TaskOutput
from ptp_runtime.tasks.segmentation import segmentation_from_logits
from ptp_runtime.tasks.view import view_from_image


def prepare(task: TaskInfo) -> None:
    """Load what the task's post-processing compiles, so that the first image is not slower than the second."""
    if isinstance(task.parameters, SegmentationParameters):
        import_module("ptp_runtime.tasks.kernels")


def output_from_head(
    task: TaskInfo,
    raw: Mapping[str, npt.NDArray[Any]],
    coded: tuple[int, int],
    original: tuple[int, int],
    lead: tuple[int, int] = (0, 0),
) -> TaskOutput:
    """The result of a task from its head's outputs, each with a batch axis of 1.

    Args:
        task: from the manifest.
        raw: the outputs by name: ``logits`` (segmentation, classification), or ``cls_logits`` and
            ``box_deltas``, or ``image``.
        coded: height and width of the image that was coded.
        original: height and width of the photo.
        lead: rows and columns that were padded before the photo (a picture is cropped there).

    Raises:
        EngineError: an output is missing or has another shape.
    """
    if isinstance(task.parameters, SegmentationParameters):
        # Resized straight to the photo's size, also after a declared resize: one interpolation, not two.
        return segmentation_from_logits(_output(raw, "logits"), *original, task.classes)
    if isinstance(task.parameters, DetectionParameters):
        logits, deltas = _output(raw, "cls_logits"), _output(raw, "box_deltas")
        return detections_from_raw(logits, deltas, coded, original, task.parameters, task.classes)
    if isinstance(task.parameters, ClassificationParameters):
        return classification_from_logits(_output(raw, "logits"), task.parameters, task.classes)
    return view_from_image(_output(raw, "image"), coded, original, lead)


def _output(raw: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    if name not in raw or raw[name].shape[:1] != (1,):
        raise EngineError(
            f"the head gave no output {name!r} with a batch of 1",
            expected=name,
            got=", ".join(f"{key} {value.shape}" for key, value in raw.items()) or "nothing",
            hint="export the bundle again",
        )
    array: npt.NDArray[Any] = raw[name][0]
    return array
