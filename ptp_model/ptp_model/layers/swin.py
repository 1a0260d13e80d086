"""Swin blocks (arXiv 2103.14030) on [B, C, H, W] tensors, with self- or cross-attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from ptp_model.layers.attention import WindowAttention
from ptp_model.layers.convolution import conv
from ptp_model.spec import AttentionSpec


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a [B, C, H, W] tensor."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class calls it so
        x = input.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class SwinBlock(nn.Module):
    """x += attention(norm(x)[, norm(context)]); x += MLP(norm(x))."""

    def __init__(self, channels: int, spec: AttentionSpec, *, cross: bool = False) -> None:
        super().__init__()
        self.norm_attention = ChannelNorm(channels)
        self.norm_context = ChannelNorm(channels) if cross else None
        self.attention = WindowAttention(channels, spec)
        self.norm_mlp = ChannelNorm(channels)
        self.mlp = nn.Sequential(conv(channels, 4 * channels, 1), nn.GELU(), conv(4 * channels, channels, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.norm_context is not None and context is not None:
            context = self.norm_context(context)
        x = x + self.attention(self.norm_attention(x), context)
        out: Tensor = x + self.mlp(self.norm_mlp(x))
        return out


def swin_stage(channels: int, depth: int, heads: int, window: int) -> nn.Sequential:
    """``depth`` self-attention blocks, every second one shifted by half a window."""
    return nn.Sequential(
        *(SwinBlock(channels, AttentionSpec(heads, window, (i % 2) * (window // 2))) for i in range(depth))
    )
