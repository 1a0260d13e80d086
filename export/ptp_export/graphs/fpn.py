"""A feature pyramid whose top-down path needs no computed sizes.

torchvision enlarges each level to the next one's size by nearest neighbour. TensorRT-RTX cannot rule out that a side
that went through a padding of computed width is negative, and then refuses any resize of it ("Resize shape dims should
be non-negative"). Levels of a pyramid halve: a side of n cells lies under one of ceil(n / 2). For these, nearest
neighbour reads cell floor(i·ceil(n/2)/n) = floor(i/2): every cell is repeated twice, and the last repetition cut off
where n is odd. A transposed convolution with ones repeats cells, exactly and in any precision.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork


class RepeatingPyramid(nn.Module):
    """Same as ``torchvision``'s FeaturePyramidNetwork for levels that halve, each side rounded up.

    Attributes:
        ones: [C, 1, 2, 2].

    Takes and gives an ordered mapping of level name → [N, C, H, W], finest first.
    """

    ones: Tensor

    def __init__(self, layer: FeaturePyramidNetwork) -> None:
        super().__init__()
        self.inner_blocks, self.layer_blocks = layer.inner_blocks, layer.layer_blocks
        self.extra_blocks = layer.extra_blocks
        self.channels = layer.inner_blocks[-1][0].out_channels
        self.register_buffer("ones", torch.ones(self.channels, 1, 2, 2))

    def forward(self, levels: dict[str, Tensor]) -> dict[str, Tensor]:
        names, features = list(levels), list(levels.values())
        inner = self.inner_blocks[-1](features[-1])
        results = [self.layer_blocks[-1](inner)]
        for i in reversed(range(len(features) - 1)):
            lateral = self.inner_blocks[i](features[i])
            twice = functional.conv_transpose2d(inner, self.ones, stride=2, groups=self.channels)
            inner = lateral + twice[:, :, : lateral.shape[2], : lateral.shape[3]]
            results.insert(0, self.layer_blocks[i](inner))
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, features, names)
        return OrderedDict(zip(names, results, strict=True))


def fold_pyramids(module: nn.Module) -> int:
    """Replace every feature pyramid below ``module``, in place. Returns how many were replaced."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, FeaturePyramidNetwork):
            setattr(module, name, RepeatingPyramid(child))
            count += 1
        else:
            count += fold_pyramids(child)
    return count
