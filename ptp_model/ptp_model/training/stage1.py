"""Stage 1: the universal codec, from photographs alone, without prompts (section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

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
    """

    lam: float = 0.0008
    alpha: float = 2.0
    batch: int = 4


class TeacherStem(nn.Module):
    """The part of a teacher the codec replaces, as a module of its own: image [B, 3, H, W] → h [B, F, H/4, W/4]."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, image01: Tensor) -> Tensor:
        return self.teacher.stem(image01)


@torch.no_grad()
def measure_feature(codec: FeatureCodec, stem: nn.Module, crops: PhotoCrops, batches: int = 16) -> None:
    """Set the codec's feature statistics from the teacher's features on crops."""
    features = torch.cat([stem(crops.batch(-1 - i & 0xFFFFFF, 4)) for i in range(batches)])
    codec.feature_mean.copy_(features.mean((0, 2, 3), keepdim=True))
    codec.feature_std.copy_(features.std((0, 2, 3), keepdim=True).clamp_min(1e-3))


def train_stage1(
    codec: FeatureCodec,
    stem: nn.Module,
    crops: PhotoCrops,
    config: Stage1Config,
    loop: LoopConfig,
    folder: Path,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> None:
    """Train all of the codec; ``stem`` is the frozen part of the teacher that gives h [B, F, H/4, W/4]."""
    stem.eval().requires_grad_(False)
    measure_feature(codec, stem, crops)
    codec.train().requires_grad_(True)
    # compressai's auxiliary quantiles serve its own coder; our tables come from the prior itself.
    codec.entropy_bottleneck.quantiles.requires_grad_(False)

    def step(number: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        image = crops.batch(number, config.batch)
        with torch.no_grad():
            h = stem(image)
        out = codec(image)
        bpp = losses.rate_bpp(out.y_bits, out.z_bits, image[:, 0].numel())
        image_error = losses.image_mse_255(image, codec.extractor(out.feature))
        feature_error = losses.feature_mse(h, out.feature, codec.feature_std)
        loss = losses.stage1_loss(bpp, image_error, feature_error, config.lam, config.alpha)
        return loss, {"bpp": bpp, "image_mse_255": image_error, "feature_mse": feature_error}

    train(codec, step, loop, folder, report)
    codec.eval()
