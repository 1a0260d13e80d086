"""Rates below those of a trained codec: their gains alone are learned (ours; gains: arXiv 2003.02012).

Gains are inputs of the graphs and stand in a file of their own. Everything else stays what it is, to the bit: the
networks, the engines built of them, and what the rates that were there give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ptp_model.codec import FeatureCodec
from ptp_model.gains import respread
from ptp_model.prompts import TaskPrompts
from ptp_model.teachers import Teacher
from ptp_model.training import losses
from ptp_model.training.compute import ON_CPU, Compute
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.loop import SILENT, LoopConfig, Shard, Watch, train
from ptp_model.training.prefetch import Prefetch
from ptp_model.training.stage1 import spread_rates


@dataclass(frozen=True)
class LowerRatesConfig:
    """Which rates, and the weights of the loss.

    Attributes:
        below: how many rates below the lowest.
        alpha: weight of the feature error at the highest rate, as in stage 1.
        batch: crops a step.
    """

    below: int = 2
    alpha: float = 4.0
    batch: int = 8


class _LowerGains(nn.Module):
    """What is trained: octaves [below, M]."""

    def __init__(self, octaves: Tensor) -> None:
        super().__init__()
        self.octaves = nn.Parameter(octaves.clone())


def lower_span(span: float, rates: int, below: int) -> float:
    """What the weights span with so many further rates below, as far apart as those that are there."""
    return float(span ** ((rates + below - 1) / (rates - 1)))


def with_lower_rates(codec: FeatureCodec, span: float, below: int) -> FeatureCodec:
    """The same codec with further rates below, whose gains are only guessed yet. The others move up in number.

    Args:
        codec: of several rates; not changed.
        span: of its weights.
        below: how many.
    """
    rates = codec.spec.rates
    lower = FeatureCodec(replace(codec.spec, rates=rates + below, default_rate=codec.spec.usual_rate + below))
    state = codec.state_dict()
    octaves = state["gains.octaves"]
    guessed = respread(octaves, span, rates + below, lower_span(span, rates, below))[:below]
    lower.load_state_dict(state | {"gains.octaves": torch.cat([guessed, octaves])})
    return lower.eval().requires_grad_(False)


def train_lower_rates(
    codec: FeatureCodec,
    prompts: Sequence[TaskPrompts],
    teacher: Teacher,
    crops: PhotoCrops,
    span: float,
    config: LowerRatesConfig,
    loop: LoopConfig,
    folder: Path,
    watch: Watch = SILENT,
    compute: Compute = ON_CPU,
) -> None:
    """Train the gains of the lowest rates, for the universal codec and all tasks alike.

    Args:
        codec: of :func:`with_lower_rates`.
        prompts: of each task that the gains serve beside the universal codec.
        teacher: any task's; its stem gives h.
        crops: photographs.
        span: of the weights of all rates, the lowest included.
    """
    if codec.gains is None:
        raise ValueError("a codec of one rate has no gains")
    codec.to(compute.device).eval().requires_grad_(False)
    teacher.to(compute.device).eval().requires_grad_(False)
    chains = [None, *(p.to(compute.device).eval().requires_grad_(False) for p in prompts)]
    trained = codec.gains.octaves.detach()[config.below :].clone()
    lower = _LowerGains(codec.gains.octaves.detach()[: config.below])
    weights = losses.rate_weights(codec.spec.rates, span)[: config.below].to(compute.device)

    def step(shard: Shard) -> tuple[Tensor, Mapping[str, Tensor]]:
        size = shard.share(config.batch)
        image = batches(shard.number, size).to(compute.device, non_blocking=True)
        rate = spread_rates(shard.number, size, config.below).to(compute.device)
        gain = torch.exp2(lower.octaves[rate])[:, :, None, None]
        with compute.networks():
            with torch.no_grad():
                h = teacher.stem(image).float()
            out = codec.coded(image, chains[shard.step % len(chains)], gain, shard.generator)
        bpp = losses.rate_bpp(out.y_bits, out.z_bits, image[0, 0].numel())
        error = losses.feature_mse(h, out.feature.float(), codec.feature_std)
        loss = losses.rate_distortion(bpp, config.alpha * error, weights[rate])
        return loss, {"bpp": bpp.mean(), "feature_mse": error.mean()}

    with Prefetch(crops.batch, compute.workers) as batches:
        train(lower, step, replace(loop, precision=compute.precision), folder, watch)
    with torch.no_grad():
        codec.gains.octaves.copy_(torch.cat([lower.octaves.detach(), trained]))
