"""Stage 1: the universal codec, from photographs alone, without prompts (section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ptp_model.codec import FeatureCodec
from ptp_model.teachers import Teacher
from ptp_model.training import losses
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.loop import LoopConfig, train


@dataclass(frozen=True)
class Stage1Config:
    """Weights of the loss and size of a batch.

    Attributes:
        lam: λ, weight of the image error (it weighs distortion in stage 1).
        alpha: weight of the feature error; 0 is the paper.
        beta: weight of the error of the teacher's deeper features; 0 is the paper.
    """

    lam: float = 0.004
    alpha: float = 12.0
    beta: float = 12.0
    batch: int = 4


@torch.no_grad()
def measure_feature(codec: FeatureCodec, teacher: Teacher, crops: PhotoCrops, batches: int = 16) -> None:
    """Set the codec's feature statistics from the teacher's features on crops."""
    features = torch.cat([teacher.stem(crops.batch(-1 - i & 0xFFFFFF, 4)) for i in range(batches)])
    codec.feature_mean.copy_(features.mean((0, 2, 3), keepdim=True))
    codec.feature_std.copy_(features.std((0, 2, 3), keepdim=True).clamp_min(1e-3))


def train_stage1(
    codec: FeatureCodec,
    teacher: Teacher,
    crops: PhotoCrops,
    config: Stage1Config,
    loop: LoopConfig,
    folder: Path,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> None:
    """Train all of the codec, from where its weights stand.

    Args:
        teacher: any task's; its stem gives h, and its backbone the deeper features, which all tasks share. Frozen.
    """
    teacher.eval().requires_grad_(False)
    measure_feature(codec, teacher, crops)
    codec.train().requires_grad_(True)
    # compressai's auxiliary quantiles serve its own coder; our tables come from the prior itself.
    codec.entropy_bottleneck.quantiles.requires_grad_(False)

    def step(number: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        image = crops.batch(number, config.batch)
        with torch.no_grad():
            h = teacher.stem(image)
        out = codec(image)
        bpp = losses.rate_bpp(out.y_bits, out.z_bits, image[:, 0].numel())
        image_error = losses.image_mse_255(image, codec.extractor(out.feature))
        feature_error = losses.feature_mse(h, out.feature, codec.feature_std)
        figures = {"bpp": bpp, "image_mse_255": image_error, "feature_mse": feature_error}
        deep_error: Tensor | float = 0.0
        if config.beta:
            with torch.no_grad():
                theirs = teacher.deeper(h)
            figures["deep_mse"] = deep_error = losses.deep_feature_mse(theirs, teacher.deeper(out.feature))
        loss = losses.stage1_loss(bpp, image_error, feature_error, deep_error, config.lam, config.alpha, config.beta)
        return loss, figures

    train(codec, step, loop, folder, report)
    codec.eval()
