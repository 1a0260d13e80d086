"""Training of the baseline Entropic Student, by the loop, the crops and the teacher that our codec has.

It is the first stage of their method (Matsubara et al., WACV 2022): the bottleneck learns to imitate h. Deviations, to
put both codecs on equal terms:

* The error is that of h alone, over the teacher's variance, as in our stage 1; the authors add the errors of the deeper
  stages. It is a mean, not a sum, and bits are per pixel.
* β weighs the error, not the rate: loss = bpp + β·MSE(h/s, ĥ/s).
* Their second stage, which trains the task's network further on the decoded feature, is left out: every codec here is
  judged by the teacher as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ptp_model.baselines.entropic_student import EntropicStudent
from ptp_model.teachers import Teacher
from ptp_model.training import losses
from ptp_model.training.compute import ON_CPU, Compute
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.fresh_start import PRIOR_PACE, measure_feature, spare_crops, standardise_output
from ptp_model.training.loop import SILENT, LoopConfig, Shard, Watch, train
from ptp_model.training.prefetch import Prefetch


@dataclass(frozen=True)
class StudentConfig:
    """Weight of the loss and size of a batch.

    Attributes:
        beta: β, weight of the feature error; decides the rate.
        batch: crops a step.
    """

    beta: float = 4.0
    batch: int = 8


@torch.no_grad()
def start_from_statistics(student: EntropicStudent, teacher: Teacher, crops: PhotoCrops, batches: int = 16) -> None:
    """Measure the teacher's feature, and scale a fresh student's last encoder layer so that y has a deviation of 1.

    With torch's own start y lies well within ±0.1: the noise of a training step would drown it.
    """
    measure_feature(student, teacher, crops)
    images = spare_crops(crops, batches, student.feature_mean.device)
    y = torch.cat([student.analysis(image) for image in images])
    standardise_output(cast(nn.Conv2d, student.encoder[-1]), y)


def train_entropic_student(
    student: EntropicStudent,
    teacher: Teacher,
    crops: PhotoCrops,
    config: StudentConfig,
    loop: LoopConfig,
    folder: Path,
    watch: Watch = SILENT,
    compute: Compute = ON_CPU,
    *,
    fresh: bool = True,
) -> None:
    """Train a student; on return it can code.

    Args:
        teacher: any task's; its stem gives h. Frozen.
        compute: device (student and teacher are moved there), precision and workers.
        fresh: measure the feature and scale y first; False: the student has been trained before.
    """
    teacher.to(compute.device).eval().requires_grad_(False)
    student.to(compute.device)
    if fresh:
        start_from_statistics(student, teacher, crops)
    student.train().requires_grad_(True)
    # The quantiles serve the coder alone: they are found from the finished prior.
    student.entropy_bottleneck.quantiles.requires_grad_(False)

    def step(shard: Shard) -> tuple[Tensor, Mapping[str, Tensor]]:
        image = batches(shard.number, shard.share(config.batch)).to(compute.device, non_blocking=True)
        with compute.networks():
            with torch.no_grad():
                h = teacher.stem(image).float()
            out = student(image, shard.generator)
        bpp = out.bits / image[0, 0].numel()
        feature_error = losses.feature_mse(h, out.feature.float(), student.feature_std)
        loss = (bpp + config.beta * feature_error).mean()
        return loss, {"bpp": bpp.mean(), "feature_mse": feature_error.mean()}

    with Prefetch(crops.batch, compute.workers) as batches:
        train(student, step, replace(loop, precision=compute.precision), folder, watch, PRIOR_PACE)
    student.eval()
    student.prepare_coder()
