"""Stage 2: the prompts of one task, everything else frozen (section 3.4, equations (1) and (2)).

The student is teacher.tail(ĥ); the teacher's own answer is teacher.tail(h) on the uncompressed photograph. Labels are
used where a photograph has them; the other terms need none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptp_model.codec import FeatureCodec
from ptp_model.errors import ModelError
from ptp_model.prompts import TaskPrompts
from ptp_model.teachers import Teacher, upsample_logits
from ptp_model.teachers.spec import DetectionOutput
from ptp_model.training import losses
from ptp_model.training.data import Pixels
from ptp_model.training.heads.augment import CropConfig, random_crop
from ptp_model.training.loop import LoopConfig, Shard, train
from ptp_model.training.stage1 import spread_rates

#: The codec takes sides that are multiples of this, pixels.
CODED_MULTIPLE = 64


@dataclass(frozen=True)
class Stage2Config:
    """Weights of the loss and size of a batch.

    Attributes:
        lam: λ, weight of the rate (it weighs the rate in stage 2).
        kl_weight: of the divergence from the teacher's answer; 1 is the paper, whose feature error is not normalised.
        batch: photographs a step.
        span: by how much λ is larger at the lowest rate of a codec with several; what stage 1 was trained with.
    """

    lam: float = 0.02
    kl_weight: float = 1.0
    batch: int = 4
    span: float = 8.0


@dataclass(frozen=True)
class Batch:
    """Photographs with what labels they have.

    Attributes:
        image: [B, 3, S, S], RGB in 0..1; S is a multiple of 4.
        mask: int64 [B, S, S] of classes, 255 = unlabelled. Segmentation only.
    """

    image: Tensor
    mask: Tensor | None = None


#: (step, batch size) → batch; must depend on these alone, so that a resumed run sees what it would have.
BatchSource = Callable[[int, int], Batch]
TaskLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Batch], tuple[Tensor, Mapping[str, Tensor]]]


def freeze_all_but(prompts: TaskPrompts, *others: nn.Module) -> None:
    """Leave only the prompts trainable."""
    for module in others:
        module.eval().requires_grad_(False)
    prompts.train().requires_grad_(True)


def train_stage2(
    codec: FeatureCodec,
    prompts: TaskPrompts,
    teacher: Teacher,
    batches: BatchSource,
    config: Stage2Config,
    loop: LoopConfig,
    folder: Path,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> None:
    """Train ``prompts`` in place for ``teacher``'s task.

    Raises:
        ModelError: the teacher's outputs are not its task's, or a segmentation batch has no mask.
    """
    freeze_all_but(prompts, codec, teacher)
    weights = losses.rate_weights(codec.spec.rates, config.span)

    def step(shard: Shard) -> tuple[Tensor, Mapping[str, Tensor]]:
        size = shard.share(config.batch)
        batch = batches(shard.number, size)
        rate = spread_rates(shard.number, size, codec.spec.rates)
        with torch.no_grad():
            h = teacher.stem(batch.image)
            theirs = teacher.tail(h)
        out = codec(padded(batch.image), prompts, rate, shard.generator)
        h_hat = out.feature[:, :, : h.shape[2], : h.shape[3]]
        ours = teacher.tail(h_hat)
        bpp = losses.rate_bpp(out.y_bits, out.z_bits, batch.image[0, 0].numel())
        feature = losses.feature_mse(h, h_hat, codec.feature_std)
        lam = config.lam / weights[rate]
        if isinstance(theirs, tuple) and isinstance(ours, tuple):
            loss, terms = _detection(theirs, ours, bpp, feature, lam, teacher, config)
        elif isinstance(theirs, Tensor) and isinstance(ours, Tensor) and teacher.spec.task == "cls":
            loss, terms = _classification(theirs, ours, bpp, feature, lam, config)
        elif isinstance(theirs, Tensor) and isinstance(ours, Tensor):
            loss, terms = _segmentation(theirs, ours, bpp, feature, lam, batch, config)
        else:
            raise ModelError("the teacher's tail gave other outputs for h than for the decoded feature")
        # √weight: as in stage 1, so that the lowest rates do not drown.
        loss = (loss * weights[rate].sqrt()).mean()
        return loss, {name: term.mean() for name, term in {"bpp": bpp, "feature_mse": feature, **terms}.items()}

    train(prompts, step, loop, folder, report)
    prompts.eval()


def padded(image: Tensor) -> Tensor:
    """[B, 3, H, W] with the last row and column repeated to multiples of 64, as a runtime gives photos to the codec."""
    height, width = image.shape[2:]
    behind = (0, -width % CODED_MULTIPLE, 0, -height % CODED_MULTIPLE)
    return functional.pad(image, behind, mode="replicate") if any(behind) else image


def _classification(
    theirs: Tensor, ours: Tensor, bpp: Tensor, feature: Tensor, lam: Tensor, config: Stage2Config
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Equation (1) without labels: what the teacher says of the uncompressed crop is what the student shall say."""
    kl = losses.kl_classification(theirs, ours)
    loss = losses.classification_loss(bpp, feature, config.kl_weight * kl, lam)
    return loss, {"kl": kl, "agreement": (theirs.argmax(1) == ours.argmax(1)).float()}


def _segmentation(
    theirs: Tensor, ours: Tensor, bpp: Tensor, feature: Tensor, lam: Tensor, batch: Batch, config: Stage2Config
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Equation (1). The KL divergence is taken on the network's own grid: upsampling both adds nothing but time."""
    if batch.mask is None:
        raise ModelError("stage 2 of task 'seg': expected batches with a mask (255 where nothing is labelled)")
    kl = losses.kl_segmentation(theirs, ours)
    size = (batch.mask.shape[1], batch.mask.shape[2])
    cross_entropy = losses.pixel_cross_entropy(upsample_logits(ours, size), batch.mask)
    loss = losses.segmentation_loss(bpp, feature, config.kl_weight * kl, cross_entropy, lam)
    return loss, {"kl": kl, "cross_entropy": cross_entropy}


def _detection(
    theirs: tuple[Tensor, Tensor],
    ours: tuple[Tensor, Tensor],
    bpp: Tensor,
    feature: Tensor,
    lam: Tensor,
    teacher: Teacher,
    config: Stage2Config,
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Equation (2) with the teacher's own detections as labels: anchors it is sure of, their class and their deltas.

    The teacher's answer stands in for annotated boxes, so that photographs without any can be used; with IoU between an
    anchor and the teacher's box for it in place of the annotated box.
    """
    if not isinstance(teacher.spec.output, DetectionOutput):
        raise ModelError(f"teacher {teacher.spec.name}: expected a detector")
    scores, labels = theirs[0].sigmoid().max(2)
    positives = scores > SURE
    kl = losses.kl_detection(theirs[0], ours[0], positives)
    cross_entropy = losses.box_cross_entropy(ours[0], labels, positives)
    regression = losses.box_regression(ours[1], theirs[1], positives)
    loss = losses.detection_loss(bpp, feature, config.kl_weight * kl, cross_entropy, regression, lam)
    return loss, {"kl": kl, "cross_entropy": cross_entropy, "box_regression": regression}


#: An anchor counts as matched when the teacher gives some class at least this score.
SURE = 0.3


class MaskedCrops:
    """Crops of photographs with their masks, where they have one: a :data:`BatchSource`.

    Args:
        photos: RGB uint8 [H, W, 3] each.
        masks: uint8 [H, W] each, 255 = unlabelled; None for a photograph without a mask.
        side: of the square crops, pixels.
        labelled_share: part of the crops drawn from photographs that have a mask.
        seed: of the crops.
    """

    def __init__(
        self,
        photos: list[Pixels],
        masks: list[Pixels | None],
        side: int,
        seed: int,
        labelled_share: float = 0.7,
    ) -> None:
        self.photos, self.masks, self.side, self.seed = photos, masks, side, seed
        self.labelled = [i for i, mask in enumerate(masks) if mask is not None]
        self.labelled_share = labelled_share

    def __call__(self, step: int, size: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        config = CropConfig(side_px=self.side, short_side_px=(self.side * 3 // 2, self.side * 10 // 3))
        images, masks = [], []
        for _ in range(size):
            labelled = self.labelled and rng.random() < self.labelled_share
            i = int(rng.choice(self.labelled)) if labelled else int(rng.integers(len(self.photos)))
            photo, mask = self.photos[i], self.masks[i]
            unlabelled = np.full(photo.shape[:2], losses.IGNORE, np.uint8)
            image, labels = random_crop(photo, unlabelled if mask is None else mask, config, rng)
            images.append(np.ascontiguousarray(image))
            masks.append(np.ascontiguousarray(labels))
        return Batch(
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255,
            torch.from_numpy(np.stack(masks)).long(),
        )
