"""Stage 1: the universal codec, from photographs alone, without prompts (section 3.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from ptp_model.codec import FeatureCodec
from ptp_model.teachers import Teacher
from ptp_model.training import losses
from ptp_model.training.compute import ON_CPU, Compute
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.fresh_start import (
    PRIOR_PACE,
    measure_feature,
    silence_residual_prediction,
    start_stem_transform,
    wake_hyper_latent,
)
from ptp_model.training.loop import SILENT, LoopConfig, Shard, Watch, train
from ptp_model.training.prefetch import Prefetch

#: Transforms that start near the best linear ones are moved gently: at the pace of the entropy path, which starts from
#: nothing, they would first be shaken out of it.
STEM_PACE = MappingProxyType({**PRIOR_PACE, "g_a.": 0.1, "g_s.": 0.1})


@dataclass(frozen=True)
class Stage1Config:
    """Weights of the loss and size of a batch.

    Attributes:
        lam: λ, weight of the image error (it weighs distortion in stage 1).
        alpha: weight of the feature error; 0 is the paper.
        beta: weight of the error of the teacher's deeper features; 0 is the paper.
        batch: crops a step.
        image_crops: how many of them also go through the image extractor, which costs as much as the rest.
        span: by how much all three weights are smaller at the lowest rate of a codec with several.
    """

    lam: float = 0.0005
    alpha: float = 4.0
    beta: float = 0.0
    batch: int = 8
    image_crops: int = 2
    span: float = 8.0


def spread_rates(number: int, batch: int, rates: int) -> Tensor:
    """Number of the rate of each crop of the batch with this number, int64 [batch]: in turn, all equally often."""
    crop = number * batch + torch.arange(batch)
    # One further from each common period to the next, so that a crop's place in the batch does not decide its rate.
    return (crop + crop // math.lcm(batch, rates)) % rates


def train_stage1(
    codec: FeatureCodec,
    teacher: Teacher,
    crops: PhotoCrops,
    config: Stage1Config,
    loop: LoopConfig,
    folder: Path,
    watch: Watch = SILENT,
    compute: Compute = ON_CPU,
    *,
    fresh: bool = False,
) -> None:
    """Train all of the codec, from where its weights stand.

    Args:
        fresh: nothing of the codec was trained before: z is woken, LRCP silent, and a transform of the kind ``stem``
            starts at the principal components of h.
        teacher: any task's; its stem gives h, and its backbone the deeper features, which all tasks share. Frozen.
        compute: device (codec and teacher are moved there), precision and workers.
    """
    teacher.to(compute.device).eval().requires_grad_(False)
    codec.to(compute.device)
    if codec.stem is not None:
        codec.stem.adopt(teacher.stem_layers())
    measure_feature(codec, teacher, crops)
    if fresh:
        if codec.stem is not None:
            start_stem_transform(codec, teacher, crops)
        wake_hyper_latent(codec, crops)
        silence_residual_prediction(codec)
    codec.train().requires_grad_(True)
    if codec.stem is not None:
        codec.stem.requires_grad_(False)
    # compressai's auxiliary quantiles serve its own coder; our tables come from the prior itself.
    codec.entropy_bottleneck.quantiles.requires_grad_(False)

    rates = codec.spec.rates
    weights = losses.rate_weights(rates, config.span).to(compute.device)

    def step(shard: Shard) -> tuple[Tensor, Mapping[str, Tensor]]:
        size = shard.share(config.batch)
        image = batches(shard.number, size).to(compute.device, non_blocking=True)
        rate = spread_rates(shard.number, size, rates).to(compute.device)
        with compute.networks():
            with torch.no_grad():
                h = teacher.stem(image).float()
            out = codec(image, None, rate, shard.generator)
        bpp = losses.rate_bpp(out.y_bits, out.z_bits, image[0, 0].numel())
        seen = slice(0, -(-config.image_crops // shard.count))
        image_error = torch.zeros_like(bpp)
        if config.lam and config.image_crops:
            with compute.networks():
                extracted = codec.extractor(out.feature[seen])
            some = losses.image_mse_255(image[seen], extracted.float())
            # As if every crop counted: the expected gradient is that of the whole batch.
            image_error[seen] = some * (size / len(some))
        feature_error = losses.feature_mse(h, out.feature.float(), codec.feature_std)
        deep_error: Tensor | float = 0.0
        if config.beta:
            with compute.networks():
                with torch.no_grad():
                    theirs = teacher.deeper(h)
                ours = teacher.deeper(out.feature)
            deep_error = losses.deep_feature_mse([f.float() for f in theirs], [f.float() for f in ours])
        distortion = losses.stage1_distortion(
            image_error, feature_error, deep_error, config.lam, config.alpha, config.beta
        )
        figures = {"bpp": bpp.mean(), "feature_mse": feature_error.mean(), "image_mse_255": image_error.mean()}
        if isinstance(deep_error, Tensor):
            figures["deep_mse"] = deep_error.mean()
        return losses.rate_distortion(bpp, distortion, weights[rate]), figures

    with Prefetch(crops.batch, compute.workers) as batches:
        pace = STEM_PACE if codec.spec.transform == "stem" else PRIOR_PACE
        train(codec, step, replace(loop, precision=compute.precision), folder, watch, pace)
    codec.eval()
