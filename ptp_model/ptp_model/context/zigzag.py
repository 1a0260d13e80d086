"""Channel slices × spatial quadrants, coded one after the other (the paper's reference [18])."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptp_model.context.schedule import (
    INDEX_GAIN,
    INDEX_START,
    MEAN_GAIN,
    QUADRANTS,
    ContextModel,
    Step,
    box,
    context_input,
)
from ptp_model.layers.convolution import conv
from ptp_model.spec import ModelSpec


def _network(inputs: int, widths: tuple[int, int, int, int], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [conv(inputs, width, 3), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, conv(inputs, outputs, 3))


class ZigzagContext(ContextModel):
    """All slices of the top-left quadrant, then bottom-left, top-right, bottom-right.

    A chunk sees the hyper means (for its mean) or scales (for its scale) of all chunks, stacked as channels over one
    quadrant, and the last ``window`` decoded chunks.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        zigzag = spec.zigzag
        self.slice_channels = spec.M // zigzag.slices
        self.window = zigzag.window
        size = self.slice_channels
        self.schedule = tuple(
            Step(f"step_{q * zigzag.slices + s:02d}", (s * size, (s + 1) * size), region)
            for q, region in enumerate(QUADRANTS)
            for s in range(zigzag.slices)
        )
        inputs = [4 * spec.M + size * min(k, zigzag.window) for k in range(len(self.schedule))]
        self.mean = nn.ModuleList(_network(n, zigzag.widths, size) for n in inputs)
        self.scale = nn.ModuleList(_network(n, zigzag.widths, size) for n in inputs)

    def step(self, k: int, mu_hyper: Tensor, scale_hyper: Tensor, y_int: Tensor) -> tuple[Tensor, Tensor]:
        decoded = [
            box(y_int[:, slice(*earlier.channels)], earlier.region)
            for earlier in self.schedule[max(0, k - self.window) : k]
        ]
        support = [context_input(torch.cat(decoded, 1))] if decoded else []
        mean = self.mean[k](torch.cat([*(box(mu_hyper, q) for q in QUADRANTS), *support], 1))
        index = self.scale[k](torch.cat([*(box(scale_hyper, q) for q in QUADRANTS), *support], 1))
        return index * INDEX_GAIN + INDEX_START, mean * MEAN_GAIN
