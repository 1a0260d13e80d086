"""Stage 2: the prompts of one task, everything else frozen (section 3.4, equations (1) and (2)).

The student is teacher.tail(ĥ); the teacher's own answer is teacher.tail(h) on the uncompressed photograph. Labels are
used where a photograph has them; the other terms need none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptp_model.codec import FeatureCodec
from ptp_model.errors import ModelError
from ptp_model.prompts import TaskPrompts
from ptp_model.teachers import Teacher, upsample_logits
from ptp_model.teachers.boxes import anchors
from ptp_model.teachers.spec import DetectionOutput
from ptp_model.training import losses
from ptp_model.training.compute import ON_CPU, Compute, in_float32
from ptp_model.training.data import Pixels
from ptp_model.training.heads.augment import CropConfig, random_crop
from ptp_model.training.loop import SILENT, LoopConfig, Shard, Watch, train
from ptp_model.training.matching import BoxLabels, targets_of
from ptp_model.training.prefetch import Prefetch
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
        emphasis: a rate's loss is multiplied by its weight (``losses.rate_weights``) to this power. 0.5 is stage 1's;
            above it the high rates, whose answers are good, count more: the prompts are the same at every rate, and
            what the lowest ask of them costs the others.
        hyper_prompts: whether p_ha, p_hμ and p_hσ are trained too; without, they stay silent (the paper's ablation).
    """

    lam: float = 0.02
    kl_weight: float = 1.0
    batch: int = 4
    span: float = 8.0
    emphasis: float = 0.5
    hyper_prompts: bool = True


@dataclass(frozen=True)
class Batch:
    """Photographs with what labels they have.

    Attributes:
        image: [B, 3, S, S], RGB in 0..1; S is a multiple of 4.
        mask: int64 [B, S, S] of classes, 255 = unlabelled. Segmentation only.
        boxes: of each photograph, None for one that nobody annotated; empty when none is. Detection only.
    """

    image: Tensor
    mask: Tensor | None = None
    boxes: tuple[BoxLabels | None, ...] = ()

    def to(self, device: str) -> Batch:
        """The same on another device; boxes stay, they are matched where they are."""
        mask = None if self.mask is None else self.mask.to(device, non_blocking=True)
        return replace(self, image=self.image.to(device, non_blocking=True), mask=mask)


MaskReader = Callable[[], Pixels]
#: (step, batch size) → batch; must depend on these alone, so that a resumed run sees what it would have.
BatchSource = Callable[[int, int], Batch]
TaskLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Batch], tuple[Tensor, Mapping[str, Tensor]]]


def freeze_all_but(prompts: TaskPrompts, *others: nn.Module) -> None:
    """Leave only the prompts trainable."""
    for module in others:
        module.eval().requires_grad_(False)
    prompts.train().requires_grad_(True)


def silence_hyper_prompts(prompts: TaskPrompts) -> None:
    """Keep the prompts of the hyper-structure from being trained: fresh ones then go on adding nothing."""
    for prompt in (prompts.p_ha, prompts.p_hmu, prompts.p_hsigma):
        prompt.requires_grad_(False)


def train_stage2(
    codec: FeatureCodec,
    prompts: TaskPrompts,
    teacher: Teacher,
    batches: BatchSource,
    config: Stage2Config,
    loop: LoopConfig,
    folder: Path,
    watch: Watch = SILENT,
    compute: Compute = ON_CPU,
) -> None:
    """Train ``prompts`` in place for ``teacher``'s task.

    Args:
        batches: photographs and their labels.
        compute: device (all three networks are moved there), precision and workers.

    Raises:
        ModelError: the teacher's outputs are not its task's, or a segmentation batch has no mask.
    """
    freeze_all_but(prompts.to(compute.device), codec.to(compute.device), teacher.to(compute.device))
    if not config.hyper_prompts:
        silence_hyper_prompts(prompts)
    weights = losses.rate_weights(codec.spec.rates, config.span).to(compute.device)

    def step(shard: Shard) -> tuple[Tensor, Mapping[str, Tensor]]:
        size = shard.share(config.batch)
        batch = ahead(shard.number, size).to(compute.device)
        rate = spread_rates(shard.number, size, codec.spec.rates).to(compute.device)
        with compute.networks():
            with torch.no_grad():
                h = teacher.stem(batch.image).float()
                theirs = in_float32(teacher.tail(h))
            out = codec(padded(batch.image), prompts, rate, shard.generator)
            h_hat = out.feature[:, :, : h.shape[2], : h.shape[3]].float()
            ours = in_float32(teacher.tail(h_hat))
        bpp = losses.rate_bpp(out.y_bits, out.z_bits, batch.image[0, 0].numel())
        feature = losses.feature_mse(h, h_hat, codec.feature_std)
        lam = config.lam / weights[rate]
        if isinstance(theirs, tuple) and isinstance(ours, tuple):
            loss, terms = _detection(theirs, ours, bpp, feature, lam, teacher, batch, config)
        elif isinstance(theirs, Tensor) and isinstance(ours, Tensor) and teacher.spec.task == "cls":
            loss, terms = _classification(theirs, ours, bpp, feature, lam, config)
        elif isinstance(theirs, Tensor) and isinstance(ours, Tensor):
            loss, terms = _segmentation(theirs, ours, bpp, feature, lam, batch, config)
        else:
            raise ModelError("the teacher's tail gave other outputs for h than for the decoded feature")
        loss = (loss * weights[rate] ** config.emphasis).mean()
        return loss, {name: term.mean() for name, term in {"bpp": bpp, "feature_mse": feature, **terms}.items()}

    with Prefetch(batches, compute.workers) as ahead:
        train(prompts, step, replace(loop, precision=compute.precision), folder, watch)
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
    batch: Batch,
    config: Stage2Config,
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Equation (2).

    Anchors that overlap an annotated box by more than 0.5 take its class and RetinaNet's deltas to it as their labels.
    On a photograph that nobody annotated, the teacher's own answer stands in: anchors it is sure of, their class and
    their deltas.
    """
    output = teacher.spec.output
    if not isinstance(output, DetectionOutput):
        raise ModelError(f"teacher {teacher.spec.name}: expected a detector")
    scores, labels = theirs[0].sigmoid().max(2)
    positives, deltas = scores > SURE, theirs[1]
    if any(found is not None for found in batch.boxes):
        reference = torch.cat(anchors(output, batch.image.shape[2], batch.image.shape[3]))
        # The labels of the teacher's answer are overwritten where somebody annotated.
        positives, labels, deltas = positives.clone(), labels.clone(), deltas.clone()
        for i, found in enumerate(batch.boxes):
            if found is not None:
                wanted = targets_of(found, reference, theirs[0].shape[2])
                positives[i], labels[i], deltas[i] = (
                    part.to(labels.device) for part in (wanted.positives, wanted.labels, wanted.deltas)
                )
    kl = losses.kl_detection(theirs[0], ours[0], positives)
    cross_entropy = losses.box_cross_entropy(ours[0], labels, positives)
    regression = losses.box_regression(ours[1], deltas, positives)
    loss = losses.detection_loss(bpp, feature, config.kl_weight * kl, cross_entropy, regression, lam)
    matched = positives.sum(1).float()
    return loss, {"kl": kl, "cross_entropy": cross_entropy, "box_regression": regression, "matched_anchors": matched}


#: Without annotations an anchor counts as matched when the teacher gives some class at least this score.
SURE = 0.3


class MaskedCrops:
    """Crops of photographs with their masks, where they have one: a :data:`BatchSource`.

    Args:
        photos: RGB uint8 [H, W, 3] each.
        masks: what gives each mask, uint8 [H, W], 255 = unlabelled; None for a photograph without one.
        side: of the square crops, pixels.
        labelled_share: part of the crops drawn from photographs that have a mask.
        seed: of the crops.
    """

    def __init__(
        self,
        photos: Sequence[Pixels],
        masks: Sequence[MaskReader | None],
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
            known = np.full(photo.shape[:2], losses.IGNORE, np.uint8) if mask is None else mask()
            image, labels = random_crop(photo, known, config, rng)
            images.append(np.ascontiguousarray(image))
            masks.append(np.ascontiguousarray(labels))
        return Batch(
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255,
            torch.from_numpy(np.stack(masks)).long(),
        )
