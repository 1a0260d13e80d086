"""The four convolutions everything is made of; all keep the size up to their stride."""

from __future__ import annotations

from torch import nn


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Zero-padded convolution: H×W → H/stride × W/stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)


def deconv(inputs: int, outputs: int, kernel: int = 5, stride: int = 2) -> nn.ConvTranspose2d:
    """Transposed convolution: H×W → stride·H × stride·W."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, output_padding=stride - 1)


def subpixel(inputs: int, outputs: int, factor: int = 2) -> nn.Sequential:
    """Convolution and pixel shuffle: H×W → factor·H × factor·W."""
    return nn.Sequential(conv(inputs, outputs * factor * factor, 3), nn.PixelShuffle(factor))
