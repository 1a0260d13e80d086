"""Window attention and the window attention module (WAM) of the CNN transform."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptp_model.layers.convolution import conv
from ptp_model.spec import AttentionSpec


class ResidualUnit(nn.Module):
    """GELU(x + conv1∘GELU∘conv3∘GELU∘conv1), N → N/2 → N/2 → N."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            conv(channels, half, 1), nn.GELU(), conv(half, half, 3), nn.GELU(), conv(half, channels, 1)
        )
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(x + self.body(x))
        return out


def relative_position_index(window: int) -> Tensor:
    """For each pair of positions of a window, which row of the bias table is theirs. int64 [window², window²]."""
    axis = torch.arange(window)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    flat = torch.stack([rows.flatten(), columns.flatten()])
    relative = flat[:, :, None] - flat[:, None, :] + window - 1
    return relative[0] * (2 * window - 1) + relative[1]


def to_windows(x: Tensor, window: int) -> Tensor:
    """[B, H, W, C] → [B·windows, window², C]; H and W are multiples of ``window``."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


def from_windows(x: Tensor, window: int, batch: int, height: int, width: int) -> Tensor:
    """Inverse of :func:`to_windows`."""
    channels = x.shape[-1]
    x = x.reshape(batch, height // window, width // window, window, window, channels)
    return x.transpose(2, 3).reshape(batch, height, width, channels)


def shift_mask(height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
    """-100 between positions that the cyclic shift brought together from opposite borders, else 0.

    Written as arithmetic on ``arange``: constants would pin the size in an exported graph, and ``torch.where`` with
    Python scalars poisons a half-precision export.

    Returns:
        Tensor [windows, window², window²] of ``like``'s dtype.
    """
    rows = torch.arange(height, device=like.device)
    columns = torch.arange(width, device=like.device)
    row_region = (rows >= height - window).to(like.dtype) + (rows >= height - shift).to(like.dtype)
    column_region = (columns >= width - window).to(like.dtype) + (columns >= width - shift).to(like.dtype)
    region = (3 * row_region[:, None] + column_region[None, :])[None, :, :, None]
    flat = to_windows(region, window)[..., 0]
    return (flat[:, None, :] != flat[:, :, None]).to(like.dtype) * -100.0


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with relative-position bias; cross-attention when given a context.

    Shapes: x (and context) [B, C, H, W] with H, W multiples of the window; output as x. Sums as explicit
    matmul-softmax-matmul because the fused operator does not survive the exporter inside a window reshape.
    """

    index: Tensor

    def __init__(self, channels: int, spec: AttentionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.projection = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros((2 * spec.window - 1) ** 2, spec.heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.register_buffer("index", relative_position_index(spec.window).flatten(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        heads, window, shift = self.spec.heads, self.spec.window, self.spec.shift
        batch, channels, height, width = x.shape
        q_in = self._windows(x)
        kv_in = q_in if context is None else self._windows(context)
        area, depth = window * window, channels // heads
        q = self.query(q_in).reshape(-1, area, heads, depth).transpose(1, 2) * depth**-0.5
        k, v = self.key_value(kv_in).reshape(-1, area, 2, heads, depth).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2)
        bias = self.bias[self.index].reshape(area, area, heads).permute(2, 0, 1)
        scores = scores + bias
        if shift:
            mask = shift_mask(height, width, window, shift, scores)
            windows = mask.shape[0]
            scores = scores.reshape(batch, windows, heads, area, area) + mask[None, :, None]
            scores = scores.reshape(-1, heads, area, area)
        out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, area, channels)
        out = from_windows(self.projection(out), window, batch, height, width)
        out = torch.roll(out, (shift, shift), (1, 2)) if shift else out
        return out.permute(0, 3, 1, 2)

    def _windows(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B·windows, window², C], after the cyclic shift.

        Channels go last first: what moves then are rows of a window, which are contiguous. In one permutation of six
        axes, where every number moves alone, ONNX Runtime takes about four times as long.
        """
        x, shift = x.permute(0, 2, 3, 1), self.spec.shift
        return to_windows(torch.roll(x, (-shift, -shift), (1, 2)) if shift else x, self.spec.window)


class WindowAttentionModule(nn.Module):
    """out = x + A(x)·sigmoid(B(x)); A = 3 residual units, B = window attention, 3 residual units, conv1.

    The window attention is residual, without norm or MLP.
    """

    def __init__(self, channels: int, spec: AttentionSpec) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(ResidualUnit(channels) for _ in range(3)))
        self.attention = WindowAttention(channels, spec)
        self.gate = nn.Sequential(*(ResidualUnit(channels) for _ in range(3)), conv(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x + self.attention(x))
        out: Tensor = x + self.trunk(x) * torch.sigmoid(gate)
        return out
