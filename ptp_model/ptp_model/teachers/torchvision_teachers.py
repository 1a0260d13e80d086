"""torchvision's DeepLabV3-ResNet50 and RetinaNet-ResNet50-FPN, cut behind ``layer1``.

Any state dict that torchvision (or a training script of its own) wrote for these two networks loads. The feature h is
the output of ``layer1``: 256 channels, stride 4, after ReLU. FPN and ASPP read nothing earlier, so the cut loses
nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import retinanet_resnet50_fpn
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.ops.misc import FrozenBatchNorm2d

from ptp_model.teachers.base import Teacher
from ptp_model.teachers.classes import COCO_CLASSES, VOC_CLASSES
from ptp_model.teachers.spec import DetectionOutput, Output, Resize, SegmentationOutput, Task, TeacherSpec
from ptp_model.teachers.weights import Weights, load_strictly, read_state

NAME = "resnet50"
FEATURE_CHANNELS = 256

# torchvision's ImageNet normalisation.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

STEM_LAYERS = ("conv1", "bn1", "relu", "maxpool", "layer1")

#: torchvision divides the image's side by the level's cells and rounds down, so its steps on levels 6 and 7 depend on
#: the image (61 and 114 instead of 64 and 128 for 800 pixels); its published weights were trained that way.
RETINANET_OUTPUT = DetectionOutput(
    strides=(8, 16, 32, 64, 128),
    sizes=tuple((size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))) for size in (32, 64, 128, 256, 512)),
    aspect_ratios=(0.5, 1.0, 2.0),
    step="side-over-cells",
    max_log_scale=4.135166556742356,  # log(1000 / 16)
    score_threshold=0.05,
    iou_threshold=0.5,
    candidates_per_level=1000,
    max_detections=300,
)


def _spec(task: Task, classes: tuple[str, ...], output: Output, resize: Resize | None) -> TeacherSpec:
    return TeacherSpec(
        name=NAME,
        task=task,
        mean=MEAN,
        std=STD,
        padding="symmetric",
        feature_channels=FEATURE_CHANNELS,
        classes=classes,
        output=output,
        resize=resize,
        weights="a torchvision state dict given by the user",
    )


class ResNetTeacher(Teacher):
    """What both have in common: a torchvision network whose ``body`` maps names to layers.

    No package carries these weights, so everything is shipped.
    """

    network: Any  # torchvision publishes no types for its composites

    def __init__(self, spec: TeacherSpec, network: nn.Module) -> None:
        super().__init__(spec)
        self.network = network
        self.freeze()

    def body(self) -> nn.ModuleDict:
        """torchvision's ``IntermediateLayerGetter``, a dictionary of the ResNet's layers."""
        raise NotImplementedError

    def _through(self, layers: Iterable[str], x: torch.Tensor) -> torch.Tensor:
        body = self.body()
        for layer in layers:
            x = body[layer](x)
        return x

    def stem(self, image01: torch.Tensor) -> torch.Tensor:
        return self._through(STEM_LAYERS, self.normalise(image01))

    def stem_layers(self) -> nn.Sequential:
        return nn.Sequential(*(self.body()[layer] for layer in STEM_LAYERS))

    def deeper(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        c3 = self._through(("layer2",), h)
        c4 = self._through(("layer3",), c3)
        return c3, c4, self._through(("layer4",), c4)

    def shipped(self) -> nn.Module:
        network: nn.Module = self.network
        return network


class DeepLabV3ResNet50(ResNetTeacher):
    """21 VOC classes at output stride 8, at the photo's own size.

    torchvision evaluates its published weights on photos resized to a shorter side of 520; the codec leaves that to the
    caller, since the network itself takes any size.

    Args:
        weights: a state dict, or the path of one; None leaves the weights random. The auxiliary classifier, which only
            training uses, may be in it or not.
    """

    def __init__(self, weights: Weights | None = None) -> None:
        network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=len(VOC_CLASSES), aux_loss=True)
        super().__init__(_spec("seg", VOC_CLASSES, SegmentationOutput(output_stride=8), None), network)
        auxiliary = {f"aux_classifier.{name}" for name in network.aux_classifier.state_dict()}
        if weights is not None:
            state = read_state(weights)
            if auxiliary.isdisjoint(state):
                network.aux_classifier = None
            load_strictly("DeepLabV3-ResNet50", network, state, counters=False)
        network.aux_classifier = None
        self.freeze()

    def body(self) -> nn.ModuleDict:
        body: nn.ModuleDict = self.network.backbone
        return body

    def tail(self, h: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network.classifier(self.deeper(h)[2])
        return logits


class RetinaNetResNet50(ResNetTeacher):
    """Boxes of the 91 COCO category ids; photos are resized to a shorter side of 800, a longer one of at most 1 333.

    On a side that is not a multiple of 32 torchvision first pads with zeros; here the network ends with the image, so
    cells at its right and lower border can differ.

    Args:
        weights: a state dict, or the path of one; None leaves the weights random.
        batch_norm_epsilon: 0 for the published COCO_V1 weights, as torchvision itself sets it when it loads them;
            1e-5 for a network trained with torchvision's scripts.
    """

    def __init__(self, weights: Weights | None = None, batch_norm_epsilon: float = 0.0) -> None:
        network: RetinaNet = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=len(COCO_CLASSES))
        _freeze_batch_norms(network, batch_norm_epsilon)
        resize = Resize(short_side=800, max_long_side=1333, interpolation="bilinear")
        super().__init__(_spec("det", COCO_CLASSES, RETINANET_OUTPUT, resize), network)
        if weights is not None:
            state = {
                name: value for name, value in read_state(weights).items() if not name.endswith("num_batches_tracked")
            }
            load_strictly("RetinaNet-ResNet50-FPN", network, state, counters=False)
        self.freeze()

    def body(self) -> nn.ModuleDict:
        body: nn.ModuleDict = self.network.backbone.body
        return body

    def tail(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        c3, c4, c5 = self.deeper(h)
        levels = self.network.backbone.fpn(OrderedDict((("0", c3), ("1", c4), ("2", c5))))
        outputs = self.network.head(list(levels.values()))
        return outputs["cls_logits"], outputs["bbox_regression"]


def _freeze_batch_norms(module: nn.Module, epsilon: float) -> None:
    """Replace batch normalisation by torchvision's frozen one, which its pretrained detectors are made of."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=epsilon))
        else:
            _freeze_batch_norms(child, epsilon)
