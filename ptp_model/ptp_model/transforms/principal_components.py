"""Where the transforms of the kind ``stem`` start: at the principal components of h (ours).

Between h and y lie two strided convolutions, and between ŷ and ĥ their mirror images. Set to the components of 2 × 2
blocks, nested, they are an orthonormal transform from the first step on, close to the best linear one, its channels
ordered by energy. Trained from random weights the same layers took a thousand steps to an error twice as high.
"""

from __future__ import annotations

from typing import cast

import torch
from compressai.layers import GDN
from torch import Tensor, nn
from torch.nn import functional

from ptp_model.layers.attention import WindowAttentionModule

#: What the gates of attention modules start at, before the sigmoid: nearly closed, yet with a gradient.
GATE = -3.0
#: Start of GDN's diagonal: nearly linear.
CURVATURE = 1e-3
#: Taps of a kernel of 5 that see the two positions of a block, at stride 2.
_TAPS = slice(2, 4)


@torch.no_grad()
def start_from_principal_components(analysis: nn.Sequential, synthesis: nn.Sequential, features: Tensor) -> None:
    """Set both transforms' layers from standardised features.

    Args:
        analysis, synthesis: as :mod:`ptp_model.transforms.stem` and :mod:`ptp_model.transforms.cnn` build them.
        features: [B, F, H, W], enough for F·16 dimensions; H and W multiples of 4.
    """
    down = [layer for layer in analysis if isinstance(layer, nn.Conv2d)]
    up = [layer for layer in synthesis if isinstance(layer, nn.ConvTranspose2d)]
    signal = features
    for encoder, decoder in zip(down, reversed(up), strict=True):
        components = principal_components(signal, encoder.out_channels)
        kernel = components.reshape(encoder.out_channels, encoder.in_channels, 2, 2)
        for layer in (encoder, decoder):
            layer.weight.zero_()
            layer.weight[:, :, _TAPS, _TAPS] = kernel
            if layer.bias is not None:
                layer.bias.zero_()
        signal = functional.conv2d(signal, kernel, stride=2)
    for module in (*analysis.modules(), *synthesis.modules()):
        if isinstance(module, GDN):
            module.beta.copy_(module.beta_reparam.init(torch.ones_like(module.beta)))
            module.gamma.copy_(module.gamma_reparam.init(CURVATURE * torch.eye(len(module.beta))))
        elif isinstance(module, WindowAttentionModule):
            last = cast(nn.Conv2d, module.gate[-1])
            last.weight.mul_(0.1)
            cast(Tensor, last.bias).fill_(GATE)


def principal_components(signal: Tensor, count: int) -> Tensor:
    """Directions of the highest energy of 2 × 2 blocks, strongest first: orthonormal rows [count, 4·C].

    Args:
        signal: [B, C, H, W]; its mean is taken to be 0.
        count: at most 4·C.
    """
    blocks = functional.pixel_unshuffle(signal, 2)
    flat = blocks.transpose(0, 1).flatten(1).double()
    _, vectors = torch.linalg.eigh(flat @ flat.T)
    strongest: Tensor = vectors.flip(1)[:, :count].T.to(signal.dtype)
    return strongest
