"""Pretrained task networks, cut into a stem (which the codec replaces) and a tail (which a device runs).

``build(name, task)`` gives one of

* ``efficientnet-lite0``: ``seg``, ``det``, ``cls``; the backbone's weights come from an installed package.
* ``resnet50``: ``seg`` (torchvision's DeepLabV3) and ``det`` (torchvision's RetinaNet); weights from a state dict file.
"""

from __future__ import annotations

from ptp_model.teachers.base import Teacher, upsample_logits
from ptp_model.teachers.registry import NAMES, TASKS, build
from ptp_model.teachers.spec import (
    ClassificationOutput,
    DetectionOutput,
    Resize,
    SegmentationOutput,
    TeacherSpec,
)

__all__ = [
    "NAMES",
    "TASKS",
    "ClassificationOutput",
    "DetectionOutput",
    "Resize",
    "SegmentationOutput",
    "Teacher",
    "TeacherSpec",
    "build",
    "upsample_logits",
]
