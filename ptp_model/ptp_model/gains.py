"""Several rates from one set of weights: a gain for every channel of y and every rate (arXiv 2003.02012).

The encoder multiplies y by the gain before anything is rounded, the decoder divides by it behind LRCP, which corrects
the error of rounding and therefore works in the units of the rounding. The entropy path reads only what lies between
and never sees a gain.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: A fresh gain of the lowest rate, in octaves; the highest starts at 0.
LOWEST_OCTAVES = -2.25


class RateGains(nn.Module):
    """Gains as trained: logarithms to base 2, one row a rate, the lowest rate first.

    Attributes:
        octaves: [rates, M].
    """

    def __init__(self, rates: int, channels: int) -> None:
        super().__init__()
        start = torch.linspace(LOWEST_OCTAVES, 0.0, rates)
        self.octaves = nn.Parameter(start[:, None].expand(rates, channels).contiguous())

    def forward(self, rate: Tensor) -> Tensor:
        """Numbers of rates, int64 [B] → gains [B, M, 1, 1], all above 0."""
        return torch.exp2(self.octaves[rate])[:, :, None, None]

    def vector(self, rate: int) -> Tensor:
        """Gains of one rate, float32 [1, M, 1, 1]."""
        return torch.exp2(self.octaves[rate].detach())[None, :, None, None]


def respread(octaves: Tensor, span: float, rates: int, new_span: float) -> Tensor:
    """Gains of another number of rates, between and below those that were trained.

    The highest rate stays the highest. A rate's place is the logarithm of its weight (``losses.rate_weights``): between
    two trained rates a channel's gain follows the line through its two, below the lowest all channels fall alike, by
    the mean slope of the two lowest rates, because a single channel's is noisy.

    Args:
        octaves: float32 [rates before, M], at least two rates.
        span, new_span: by how much the weight of the lowest rate is smaller than that of the highest, at least 1;
            before and now.
        rates: how many now, at least two.

    Returns:
        float32 [rates, M].
    """
    known = torch.linspace(-math.log10(span), 0.0, len(octaves))
    slope = ((octaves[1] - octaves[0]) / (known[1] - known[0])).mean()
    rows = []
    for place in torch.linspace(-math.log10(new_span), 0.0, rates):
        if place < known[0]:
            rows.append(octaves[0] + slope * (place - known[0]))
            continue
        lower = min(int(torch.searchsorted(known, place, right=True)), len(known) - 1) - 1
        share = (place - known[lower]) / (known[lower + 1] - known[lower])
        rows.append(torch.lerp(octaves[lower], octaves[lower + 1], share))
    return torch.stack(rows)
