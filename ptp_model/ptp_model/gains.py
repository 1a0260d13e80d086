"""Several rates from one set of weights: a gain for every channel of y and every rate (arXiv 2003.02012).

The encoder multiplies y by the gain before anything is rounded, the decoder divides by it behind LRCP, which corrects
the error of rounding and therefore works in the units of the rounding. The entropy path reads only what lies between
and never sees a gain.
"""

from __future__ import annotations

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
