"""Transformer transforms (arXiv 2111.06707): patch embedding, Swin stages, patch merging and splitting."""

from __future__ import annotations

from torch import Tensor, nn

from ptp_model.layers.convolution import conv
from ptp_model.layers.swin import ChannelNorm, swin_stage
from ptp_model.spec import ModelSpec


class PatchMerging(nn.Module):
    """[B, C, H, W] → [B, D, H/2, W/2]: 2×2 positions become channels, normalised and projected."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.gather = nn.PixelUnshuffle(2)
        self.norm = ChannelNorm(4 * inputs)
        self.reduction = nn.Conv2d(4 * inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.reduction(self.norm(self.gather(x)))
        return out


class PatchSplitting(nn.Module):
    """[B, C, H, W] → [B, D, 2H, 2W]: normalised, projected, channels become 2×2 positions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(inputs)
        self.expansion = nn.Conv2d(inputs, 4 * outputs, 1, bias=False)
        self.scatter = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scatter(self.expansion(self.norm(x)))
        return out


def analysis(spec: ModelSpec) -> nn.Sequential:
    """Patch embedding 2×2, then four stages at strides 2, 4, 8, 16."""
    swin = spec.swin
    layers: list[nn.Module] = [nn.Conv2d(3, swin.widths[0], 2, 2)]
    for i, (width, depth, heads) in enumerate(zip(swin.widths, swin.depths, swin.heads, strict=True)):
        if i:
            layers.append(PatchMerging(swin.widths[i - 1], width))
        layers.append(swin_stage(width, depth, heads, swin.window))
    return nn.Sequential(*layers)


def synthesis(spec: ModelSpec) -> nn.Sequential:
    """Three stages at strides 16, 8, 4, then conv3 to the feature's channels."""
    swin = spec.swin
    widths, heads = swin.widths[:0:-1], swin.heads[:0:-1]
    layers: list[nn.Module] = []
    for i, (width, head, depth) in enumerate(zip(widths, heads, swin.decoder_depths, strict=True)):
        if i:
            layers.append(PatchSplitting(widths[i - 1], width))
        layers.append(swin_stage(width, depth, head, swin.window))
    return nn.Sequential(*layers, conv(widths[-1], spec.F, 3))
