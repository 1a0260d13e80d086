"""Estimated bits: Gaussian for y, the factorised prior for z (arXiv 1802.01436)."""

from __future__ import annotations

import torch
from compressai.entropy_models import EntropyBottleneck
from torch import Tensor

from ptp_model.quantization import SCALE_LEVELS, bound, scale_from_index

_LIKELIHOOD_MIN = 1e-9


def gaussian_bits(residual: Tensor, index: Tensor) -> Tensor:
    """Bits of unit-width bins of a zero-mean Gaussian.

    Args:
        residual: y - μ, integer or with uniform noise.
        index: real-valued scale index; clamped to the table.

    Returns:
        bits, element by element.
    """
    scale = scale_from_index(bound(index, 0.0, SCALE_LEVELS - 1.0))
    distance = residual.abs()
    upper = torch.special.ndtr((0.5 - distance) / scale)
    lower = torch.special.ndtr((-0.5 - distance) / scale)
    return -torch.log2(bound(upper - lower, _LIKELIHOOD_MIN, 1.0))


def _cumulative(bottleneck: EntropyBottleneck, points: Tensor) -> Tensor:
    return torch.sigmoid(bottleneck._logits_cumulative(points, stop_gradient=False))


def factorised_bits(bottleneck: EntropyBottleneck, z: Tensor) -> Tensor:
    """Bits of unit-width bins around z [B, C, h, w] under the factorised prior; gradients reach the prior."""
    channels = z.shape[1]
    flat = z.transpose(0, 1).reshape(channels, 1, -1)
    lower = bottleneck._logits_cumulative(flat - 0.5, stop_gradient=False)
    upper = bottleneck._logits_cumulative(flat + 0.5, stop_gradient=False)
    # Evaluated on the side of zero where the sigmoids differ most, against cancellation.
    sign = -torch.sign(lower + upper).detach()
    likelihood = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
    bits = -torch.log2(bound(likelihood, _LIKELIHOOD_MIN, 1.0))
    return bits.reshape(channels, z.shape[0], *z.shape[2:]).transpose(0, 1)


@torch.no_grad()
def factorised_pmf(bottleneck: EntropyBottleneck, limit: int) -> Tensor:
    """Probability of each integer in [-limit, limit] per channel. float64 [C, 2·limit + 1]; the rest is the tails'."""
    parameter = next(bottleneck.parameters())
    edges = torch.arange(-limit, limit + 2, dtype=parameter.dtype, device=parameter.device) - 0.5
    points = edges.expand(bottleneck.channels, 1, -1).contiguous()
    return _cumulative(bottleneck, points)[:, 0].double().diff(dim=-1).clamp_min(0)
