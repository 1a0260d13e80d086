"""DeepLab's ASPP without the resize of its pooled branch.

torchvision pools the feature to one position and enlarges that position to the feature's size again, bilinearly: it
copies it. The size comes out of shape arithmetic that TensorRT-RTX refuses ("Resize shape dims should
be non-negative").
The 1×1 projection that follows is linear, so the pooled branch can go through its own columns of the weight as one
position, and be added to every other: the same sums, and neither a resize nor its size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP

_POOLED_LAYERS = ("0", "1", "2", "3")  # pool, convolution, normalisation, ReLU: all of ASPPPooling but its resize


class FoldedASPP(nn.Module):
    """Same as ``torchvision``'s ASPP in evaluation mode. [N, C, H, W] → [N, width, H, W].

    Attributes:
        branches: the branches that keep the size.
        pooled: the pooled branch up to its resize: [N, C, H, W] → [N, width, 1, 1].
        wide, narrow: columns of the projection that read the former and the latter.
        rest: what follows the projection's convolution.
    """

    def __init__(self, layer: ASPP) -> None:
        super().__init__()
        *branches, pooling = layer.convs
        projection, *rest = layer.project
        if projection.kernel_size != (1, 1) or projection.bias is not None:
            raise ValueError("the projection of this ASPP is not a plain 1×1 convolution")
        self.branches = nn.ModuleList(branches)
        self.pooled = nn.Sequential(*(pooling.get_submodule(name) for name in _POOLED_LAYERS))
        columns = projection.in_channels - pooling[1].out_channels
        with torch.no_grad():
            self.wide = nn.Parameter(projection.weight[:, :columns].clone(), requires_grad=False)
            self.narrow = nn.Parameter(projection.weight[:, columns:].clone(), requires_grad=False)
        self.rest = nn.Sequential(*rest)

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.conv2d(torch.cat([branch(x) for branch in self.branches], 1), self.wide)
        out: Tensor = self.rest(wide + functional.conv2d(self.pooled(x), self.narrow))
        return out


def fold_aspp(module: nn.Module) -> int:
    """Replace every ASPP below ``module``, in place. Returns how many were replaced."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, ASPP):
            setattr(module, name, FoldedASPP(child))
            count += 1
        else:
            count += fold_aspp(child)
    return count
