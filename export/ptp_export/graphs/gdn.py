"""GDN with its reparametrisation folded away.

compressai keeps γ and β squared and clamped by a custom autograd function (Ballé et al., arXiv 1511.06281, and
``compressai.layers.gdn``): needed in training, in the way of an exporter. Folded, the layer is a square, a 1×1
convolution, a square root and a division (or a product, for the inverse).
"""

from __future__ import annotations

import torch
from compressai.layers import GDN
from torch import Tensor, nn
from torch.nn import functional


class FoldedGDN(nn.Module):
    """y = x / sqrt(β + γ·x²), or y = x · sqrt(β + γ·x²) for the inverse. Shapes [N, C, H, W] → the same.

    Attributes:
        beta: [C], positive.
        gamma: [C, C, 1, 1], not negative.
    """

    beta: Tensor
    gamma: Tensor

    def __init__(self, layer: GDN) -> None:
        super().__init__()
        channels = layer.beta.numel()
        with torch.no_grad():
            beta, gamma = layer.beta_reparam(layer.beta), layer.gamma_reparam(layer.gamma)
        self.inverse = bool(layer.inverse)
        self.register_buffer("beta", beta.detach().clone())
        self.register_buffer("gamma", gamma.detach().reshape(channels, channels, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.sqrt(functional.conv2d(x * x, self.gamma, self.beta))
        return x * norm if self.inverse else x / norm


def fold_gdn(module: nn.Module) -> int:
    """Replace every GDN below ``module``, in place.

    Returns:
        How many were replaced.
    """
    count = 0
    for name, child in module.named_children():
        if isinstance(child, GDN):
            setattr(module, name, FoldedGDN(child))
            count += 1
        else:
            count += fold_gdn(child)
    return count
