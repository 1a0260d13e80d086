"""Channel groups in two passes each: anchors, then non-anchors (arXiv 2309.02529, 2103.15306, 2203.10886)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptp_model.context.schedule import ContextModel, Step, context_input, parameters
from ptp_model.layers.convolution import conv
from ptp_model.spec import ModelSpec


class CheckerboardConv(nn.Conv2d):
    """5×5 convolution that sees only neighbours of the other colour (odd row + column offset)."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 5, padding=2)
        offsets = torch.arange(5)
        self.register_buffer("mask", ((offsets[:, None] + offsets[None]) % 2 == 1).float(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class calls it so
        return functional.conv2d(input, self.weight * self.mask, self.bias, padding=2)


def _stack(*layers: nn.Module) -> nn.Sequential:
    out: list[nn.Module] = []
    for layer in layers:
        out += [layer, nn.ReLU()]
    return nn.Sequential(*out[:-1])


class CheckerboardContext(ContextModel):
    """Two steps per channel group, with separate parameter networks for anchors and non-anchors."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        groups = spec.checkerboard.groups
        a, b = spec.checkerboard.channel_context
        c, d = spec.checkerboard.aggregation
        starts = [sum(groups[:k]) for k in range(len(groups))]
        self.schedule = tuple(
            Step(f"step_{2 * k + p:02d}", (start, start + g), region)
            for k, (start, g) in enumerate(zip(starts, groups, strict=True))
            for p, region in enumerate(("anchor", "nonanchor"))
        )
        self.channel_context = nn.ModuleList(
            _stack(conv(start, a, 5), conv(a, b, 5), conv(b, 2 * g, 5)) if start else nn.Identity()
            for start, g in zip(starts, groups, strict=True)
        )
        self.local_context = nn.ModuleList(CheckerboardConv(g, 2 * g) for g in groups)
        self.anchor = nn.ModuleList()
        self.nonanchor = nn.ModuleList()
        for start, g in zip(starts, groups, strict=True):
            inputs = 2 * spec.M + (2 * g if start else 0)
            self.anchor.append(_stack(conv(inputs, c, 1), conv(c, d, 1), conv(d, 2 * g, 1)))
            self.nonanchor.append(_stack(conv(inputs + 2 * g, c, 1), conv(c, d, 1), conv(d, 2 * g, 1)))

    def step(self, k: int, mu_hyper: Tensor, scale_hyper: Tensor, y_int: Tensor) -> tuple[Tensor, Tensor]:
        group, second = divmod(k, 2)
        start, stop = self.schedule[k].channels
        parts = [mu_hyper, scale_hyper]
        if start:
            parts.append(self.channel_context[group](context_input(y_int[:, :start])))
        if second:
            parts.append(self.local_context[group](context_input(y_int[:, start:stop])))
        network = self.nonanchor[group] if second else self.anchor[group]
        return parameters(network(torch.cat(parts, 1)))
