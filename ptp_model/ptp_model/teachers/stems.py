"""The layers between the normalised image and the feature h, by teacher, without weights."""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet50

from ptp_model.errors import SpecError
from ptp_model.teachers import lite0_teachers, torchvision_teachers
from ptp_model.teachers.efficientnet_lite0 import EfficientNetLite0, SameConv2d


def stem_layers(name: str) -> nn.Sequential:
    """Layers whose state has the same names as that of a teacher's ``stem_layers()``; for even sides throughout.

    Raises:
        SpecError: unknown teacher.
    """
    if name == lite0_teachers.NAME:
        layers = lite0_teachers.stem_of(EfficientNetLite0())
        for module in layers.modules():
            if isinstance(module, SameConv2d):
                module.even = True
        return layers
    if name == torchvision_teachers.NAME:
        network = resnet50(weights=None)
        return nn.Sequential(*(getattr(network, layer) for layer in torchvision_teachers.STEM_LAYERS))
    raise SpecError(f"teacher is {name!r}; expected {lite0_teachers.NAME} or {torchvision_teachers.NAME}")
