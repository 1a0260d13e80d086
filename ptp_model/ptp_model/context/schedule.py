"""What one coding step is, and the face both context models share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ptp_model.quantization import CONTEXT_LIMIT, MEAN_STEPS, index_integer, mean_integer

QUADRANTS = ("top-left", "bottom-left", "top-right", "bottom-right")
REGIONS = ("all", "anchor", "nonanchor", *QUADRANTS)

#: Units of the raw network outputs: powers of two, so that the integer conversion stays exact.
MEAN_GAIN = 16.0
INDEX_GAIN = 8.0
INDEX_START = 16.0


@dataclass(frozen=True)
class Step:
    """One coding step: a range of channels over a region of the latent.

    Attributes:
        name: graph name, ``step_00`` …
        channels: first and one-past-last channel.
        region: one of :data:`REGIONS`. ``anchor`` and ``nonanchor`` span the whole latent and code positions of even
            or odd (row + column); quadrants span a quarter of it and code everything there.
    """

    name: str
    channels: tuple[int, int]
    region: str


def box(x: Tensor, region: str) -> Tensor:
    """The part of a [B, C, h, w] latent a region spans (a view)."""
    if region not in QUADRANTS:
        return x
    half_h, half_w = x.shape[2] // 2, x.shape[3] // 2
    vertical, horizontal = region.split("-")
    x = x[:, :, :half_h] if vertical == "top" else x[:, :, half_h:]
    return x[..., :half_w] if horizontal == "left" else x[..., half_w:]


def coded_positions(region: str, like: Tensor) -> Tensor:
    """Which positions of a region's box its steps code: bool [h, w] for a box [..., h, w]."""
    height, width = like.shape[-2:]
    if region not in ("anchor", "nonanchor"):
        return torch.ones(height, width, dtype=torch.bool, device=like.device)
    rows = torch.arange(height, device=like.device)[:, None]
    columns = torch.arange(width, device=like.device)[None]
    return (rows + columns) % 2 == (0 if region == "anchor" else 1)


def context_input(y_int: Tensor) -> Tensor:
    """Decoded latents as the parameter networks read them: clipped, in units of y."""
    return y_int.clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT) * (1 / MEAN_STEPS)


def parameters(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Raw outputs [B, 2g, h, w] → (scale index, mean in sixteenths), both real-valued [B, g, h, w]."""
    mean, index = raw.chunk(2, 1)
    return index * INDEX_GAIN + INDEX_START, mean * MEAN_GAIN


class ContextModel(nn.Module):
    """Gives, step by step, the distribution of the latents still to be coded."""

    schedule: tuple[Step, ...]

    @abstractmethod
    def step(self, k: int, mu_hyper: Tensor, scale_hyper: Tensor, y_int: Tensor) -> tuple[Tensor, Tensor]:
        """Scale index and mean of step ``k``, real-valued, over its region's box.

        Args:
            k: position in :attr:`schedule`.
            mu_hyper, scale_hyper: [B, M, h, w].
            y_int: decoded latents in sixteenths, [B, M, h, w]; 0 where not decoded yet.

        Returns:
            index (0..63 after rounding and clipping) and mean (in sixteenths), each [B, g, box height, box width].
        """

    def step_integer(self, k: int, mu_hyper: Tensor, scale_hyper: Tensor, y_int: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`step`, in the coder's numbers: uint8 index, int16 mean."""
        index, mean = self.step(k, mu_hyper, scale_hyper, y_int)
        return index_integer(index), mean_integer(mean)
