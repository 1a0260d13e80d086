"""Rounding, bounds and units of the entropy path.

The parameter networks end in numbers the coder uses as they are: the mean of y in sixteenths, and a scale as index
into a table of 64 log-spaced standard deviations (0.11 … 256).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

#: Means and decoded latents are integers in units of 1/16.
MEAN_STEPS = 16
#: What a context network reads of a decoded latent is clipped to ±1023 sixteenths.
CONTEXT_LIMIT = 1023
#: A mean is clipped to what int16 carries exactly through float32 everywhere.
MEAN_LIMIT = 8191
#: Latents (before gains) and decoded features (in standard deviations) stay within these bounds, four and two times
#: what photographs show. The two IGDN of the synthesis grow with the fourth power of their input: a latent unlike any
#: seen in training would otherwise end in infinities.
LATENT_LIMIT = 64.0
FEATURE_LIMIT = 20.0
SCALE_LEVELS = 64
SCALE_MIN, SCALE_MAX = 0.11, 256.0
_LOG_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)


def scale_table() -> list[float]:
    """The 64 standard deviations, float64."""
    return [SCALE_MIN * math.exp(i * _LOG_STEP) for i in range(SCALE_LEVELS)]


def scale_from_index(index: Tensor) -> Tensor:
    """Standard deviation for a (real-valued, in training) table index."""
    return SCALE_MIN * torch.exp(index * _LOG_STEP)


class _Bound(torch.autograd.Function):
    """Clamp whose gradient still flows when it pulls the value back inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        passes = ((x >= ctx.low) | (grad < 0)) & ((x <= ctx.high) | (grad > 0))
        return grad * passes, None, None


def bound(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp for training (see :class:`_Bound`)."""
    out: Tensor = _Bound.apply(x, low, high)  # type: ignore[no-untyped-call]
    return out


def limited(x: Tensor, limit: float) -> Tensor:
    """x within ±limit; in training the gradient that leads back inside still passes."""
    return bound(x, -limit, limit) if x.requires_grad else x.clamp(-limit, limit)


def ste_round(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes straight through."""
    return x + (torch.round(x) - x).detach()


def index_integer(index: Tensor) -> Tensor:
    """Table index the coder uses: uint8, 0..63."""
    return torch.floor(index + 0.5).clamp(0, SCALE_LEVELS - 1).to(torch.uint8)


def mean_integer(mean: Tensor) -> Tensor:
    """Mean the coder uses: int16, in sixteenths."""
    return torch.floor(mean + 0.5).clamp(-MEAN_LIMIT, MEAN_LIMIT).to(torch.int16)
