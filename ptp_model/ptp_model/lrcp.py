"""Latent residual cross-attention prediction (section 3.1, "LRCP"; reference [18]).

The reference runs it inside the context model, chunk by chunk. Here the context reads ŷ as decoded and LRCP runs once,
on the whole latent, as the first part of synthesis: nothing of it has to be bit-exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptp_model.layers.convolution import conv
from ptp_model.layers.swin import SwinBlock
from ptp_model.spec import AttentionSpec, ModelSpec


class LatentResidualPrediction(nn.Module):
    """ŷ += 0.5·tanh(net(ŷ, μ_h)); queries from ŷ, keys and values from μ_h. All tensors [B, M, h, w]."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        lrcp = spec.lrcp
        self.support = conv(2 * spec.M, lrcp.width, 3)
        self.context = conv(spec.M, lrcp.width, 1)
        self.groups = nn.ModuleList(
            nn.ModuleList(
                SwinBlock(lrcp.width, AttentionSpec(lrcp.heads, lrcp.window, (i % 2) * (lrcp.window // 2)), cross=True)
                for i in range(depth)
            )
            for depth in lrcp.depths
        )
        self.out = conv(lrcp.width, spec.M, 3)

    def forward(self, y: Tensor, mu_hyper: Tensor) -> Tensor:
        x = self.support(torch.cat([y, mu_hyper], 1))
        context = self.context(mu_hyper)
        for group in self.groups:
            start = x
            for block in group:  # type: ignore[attr-defined]
                x = block(x, context)
            x = x + start
        return y + 0.5 * torch.tanh(self.out(x))
