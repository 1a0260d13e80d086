"""The ``task`` section of a manifest from the teacher's own description."""

from __future__ import annotations

from ptp_export.sizes import MAX_SIDE
from ptp_model.spec import TASK_IDS
from ptp_model.teachers import ClassificationOutput, DetectionOutput, SegmentationOutput, Teacher
from ptp_runtime.errors import ExportError
from ptp_runtime.manifest import (
    AnchorLevel,
    CentreCrop,
    ClassificationParameters,
    DeclaredResize,
    DetectionParameters,
    Resize,
    SegmentationParameters,
    TaskInfo,
    ViewParameters,
)


def task_info(task: str, teacher: Teacher | None) -> TaskInfo:
    """What a runtime must know to read the head's outputs.

    Raises:
        ExportError: the teacher describes an output that the manifest has no words for.
    """
    if teacher is None:
        return TaskInfo(task, TASK_IDS[task], (), ViewParameters())
    output = teacher.spec.output
    if isinstance(output, SegmentationOutput):
        return TaskInfo(task, TASK_IDS[task], teacher.spec.classes, SegmentationParameters())
    if isinstance(output, DetectionOutput):
        return TaskInfo(task, TASK_IDS[task], teacher.spec.classes, _detection(output))
    if isinstance(output, ClassificationOutput):
        return TaskInfo(task, TASK_IDS[task], teacher.spec.classes, ClassificationParameters(top=output.top))
    raise ExportError(
        f"the task {task!r} cannot be described in a manifest",
        expected="a segmentation, a detection, a classification or the view",
        got=type(output).__name__,
    )


def _detection(output: DetectionOutput) -> DetectionParameters:
    return DetectionParameters(
        levels=tuple(AnchorLevel(stride, sizes) for stride, sizes in zip(output.strides, output.sizes, strict=True)),
        aspect_ratios=output.aspect_ratios,
        score_threshold=output.score_threshold,
        candidates_per_level=output.candidates_per_level,
        nms_threshold=output.iou_threshold,
        detections_per_image=output.max_detections,
    )


def declared_resize(teacher: Teacher | None) -> DeclaredResize | None:
    """The resize that a teacher wants before the codec, as a manifest says it.

    Raises:
        ExportError: a combination for which a manifest has no words: of crop, limit and interpolation.
    """
    resize = None if teacher is None else teacher.spec.resize
    if resize is None:
        return None
    if resize.crop and resize.interpolation == "bicubic" and not resize.max_long_side:
        return CentreCrop(resize.short_side, resize.crop)
    if resize.crop or resize.interpolation != "bilinear":
        raise ExportError(
            "the teacher prepares its photos in a way that a bundle cannot say",
            expected="a bilinear resize of the whole photo, or a bicubic one and a centred crop",
            got=str(resize),
        )
    return Resize(resize.short_side, resize.max_long_side or MAX_SIDE)
