"""The segmentation head: pixel cross-entropy on cached features of a frozen backbone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch.nn import functional

from ptp_model.errors import ModelError
from ptp_model.teachers.base import upsample_logits
from ptp_model.teachers.lite0_teachers import Lite0Segmenter
from ptp_model.training.data import IGNORE, Cutout, LabelledPhoto, Pixels
from ptp_model.training.heads.augment import CropConfig, cut, jitter, paste, random_crop
from ptp_model.training.heads.metrics import Confusion, MaskFigures

Report = Callable[[Mapping[str, float]], None]

#: Labels are compared at this stride: finer than the logits' 16, an eighth of the cost of every pixel.
LABEL_STRIDE = 4


@dataclass(frozen=True)
class SegmentationTraining:
    """Attributes:
    seed: of crops, batches and the head's first weights.
    pool: augmented crops whose features are kept (float16, 0.27 MB each at 320 pixels).
    epochs: passes over the pool.
    class_exponent: photographs are drawn through their classes; 0 draws every class as often as any other, 1 by the
        number of photographs that show it.
    feature_dropout: part of the feature map's channels that is hidden from the head in a step.
    evidence_alone: part of the crops for which the DeepLab layers are silent in a step. They know the training
        photographs by heart; without this the weight of the evidence is learned too small for any other photograph.
    evidence_epochs: after so many epochs the fusion of the evidence stays as it is, and the DeepLab layers are never
        silent any more: they settle beside it.
    confidence: what the trained DeepLab logits are multiplied by in the end. A network that fits its training set
        closely is surer of itself elsewhere than it should be (Guo et al., arXiv 1706.04599), and here would overrule
        the evidence. The value was chosen by looking at held-out figures of two runs (1, 0.8, 0.6 and 0.4 were tried).
    tie: how far the last layer's rows of the rare classes are drawn to their mean after every step; see
    ``tie_classes``.
    """

    seed: int = 0
    pool: int = 2400
    epochs: int = 9
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    class_exponent: float = 0.3
    label_smoothing: float = 0.05
    tie: float = 1.0
    feature_dropout: float = 0.2
    evidence_alone: float = 0.3
    evidence_epochs: int = 4
    confidence: float = 0.6
    crop: CropConfig = field(default_factory=CropConfig)
    log_every: int = 50


@dataclass(frozen=True)
class FeaturePool:
    """Features float16 [n, 320 + 21, h, w] of augmented crops, with labels uint8 [n, s / 4, s / 4]."""

    features: torch.Tensor
    labels: torch.Tensor


class _Sampler:
    """Draws (photograph, class to look at, objects to paste) so that rare classes are seen."""

    def __init__(
        self, photos: Sequence[tuple[Pixels, Pixels]], cutouts: Sequence[Cutout], config: SegmentationTraining
    ) -> None:
        self.photos, self.config = photos, config
        self.by_class: dict[int, list[int]] = {}
        self.objects: dict[int, list[Cutout]] = {}
        for index, (image, mask) in enumerate(photos):
            for label in sorted(set(np.unique(mask).tolist()) - {0, IGNORE}):
                self.by_class.setdefault(label, []).append(index)
                found = cut(image, mask, label)
                if found is not None:
                    self.objects.setdefault(label, []).append(found)
        for cutout in cutouts:
            self.objects.setdefault(cutout.label, []).append(cutout)

    def _class(self, groups: Mapping[int, Sequence[object]], random: np.random.Generator) -> int:
        labels = sorted(groups)
        weights = np.array([len(groups[label]) for label in labels], dtype=np.float64) ** self.config.class_exponent
        return labels[int(random.choice(len(labels), p=weights / weights.sum()))]

    def draw(self, random: np.random.Generator) -> tuple[Pixels, Pixels]:
        focus = None
        index = int(random.integers(len(self.photos)))
        if self.by_class and random.random() < 0.8:
            focus = self._class(self.by_class, random)
            index = self.by_class[focus][int(random.integers(len(self.by_class[focus])))]
        image, mask = random_crop(*self.photos[index], self.config.crop, random, focus)
        for _ in range(2):
            if self.objects and random.random() < self.config.crop.paste_probability:
                objects = self.objects[self._class(self.objects, random)]
                paste(image, mask, objects[int(random.integers(len(objects)))], self.config.crop, random)
        return image, mask


def make_pool(
    teacher: Lite0Segmenter,
    photos: Sequence[LabelledPhoto],
    cutouts: Sequence[Cutout],
    config: SegmentationTraining,
    report: Report,
) -> FeaturePool:
    """Augment, and run the frozen backbone once per crop.

    Raises:
        ModelError: no photograph has a mask.
    """
    sampler = _Sampler([(photo.image(), photo.mask()) for photo in photos if photo.has_mask], cutouts, config)
    if not sampler.photos:
        raise ModelError("segmentation head: expected photographs with masks, got none; give a folder with masks/")
    random = np.random.default_rng(config.seed)
    features, labels = [], []
    start = time.perf_counter()
    with torch.no_grad():
        for index in range(config.pool):
            image, mask = sampler.draw(random)
            pixels = torch.from_numpy(jitter(image, config.crop.jitter, random)).permute(2, 0, 1)[None]
            features.append(teacher.features(teacher.stem(pixels))[0].half())
            labels.append(
                torch.from_numpy(mask[LABEL_STRIDE // 2 :: LABEL_STRIDE, LABEL_STRIDE // 2 :: LABEL_STRIDE].copy())
            )
            if (index + 1) % 250 == 0:
                report({"crops": index + 1, "seconds": time.perf_counter() - start})
    return FeaturePool(torch.stack(features), torch.stack(labels))


def train_head(teacher: Lite0Segmenter, pool: FeaturePool, config: SegmentationTraining, report: Report) -> None:
    """Train ``teacher.head`` in place; the teacher is frozen again on return.

    Raises:
        ModelError: the loss is no longer finite.
    """
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)  # dropout
    head = teacher.head.requires_grad_(True).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    per_epoch = max(1, len(pool.labels) // config.batch)
    steps = config.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=steps + 1, pct_start=0.1
    )
    start, step = time.perf_counter(), 0
    for epoch in range(config.epochs):
        order = torch.randperm(len(pool.labels), generator=generator)
        head.evidence.requires_grad_(epoch < config.evidence_epochs)
        for first in range(0, per_epoch * config.batch, config.batch):
            chosen = order[first : first + config.batch]
            labels = pool.labels[chosen].long()
            alone = config.evidence_alone if epoch < config.evidence_epochs else 0.0
            logits = _training_logits(teacher, pool.features[chosen].float(), config.feature_dropout, alone)
            logits = upsample_logits(logits, (labels.shape[1], labels.shape[2]))
            loss = functional.cross_entropy(logits, labels, ignore_index=IGNORE, label_smoothing=config.label_smoothing)
            value = loss.item()
            if not math.isfinite(value):
                raise ModelError(f"segmentation head: the loss is {value} at step {step}; lower the learning rate")
            optimiser.zero_grad(set_to_none=True)  # None, so that frozen parameters do not decay
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            tie_classes(teacher, config.tie)
            step += 1
            if step % config.log_every == 0 or step == steps:
                figures = {"step": step, "epoch": epoch, "loss": value, "seconds": time.perf_counter() - start}
                report({**figures, "learning_rate": float(schedule.get_last_lr()[0])})
    with torch.no_grad():
        for parameter in head.deeplab.last.parameters():
            parameter.mul_(config.confidence)
    teacher.freeze()


def _training_logits(
    teacher: Lite0Segmenter, features: torch.Tensor, feature_dropout: float, evidence_alone: float
) -> torch.Tensor:
    """The head's logits with both kinds of dropout."""
    head = teacher.head
    feature, evidence = features[:, : head.inputs], features[:, head.inputs :]
    learned = head.deeplab(functional.dropout2d(feature, feature_dropout))
    silent = torch.rand(len(features), 1, 1, 1) < evidence_alone
    bias = cast(torch.Tensor, head.deeplab.last.bias).view(1, -1, 1, 1)
    logits: torch.Tensor = torch.where(silent, bias, learned) + head.evidence(evidence)
    return logits


def tie_classes(teacher: Lite0Segmenter, strength: float) -> None:
    """Draw the DeepLab rows of all classes but background and person to their common mean.

    At strength 1 the trained layers tell background, person and "some other object" apart, for which there are examples
    enough, and *which* object it is comes from the ImageNet evidence and from each class's own bias. At strength 0
    every class is learned from its one or two photographs.
    """
    person = teacher.spec.classes.index("person")
    others = [index for index in range(1, len(teacher.spec.classes)) if index != person]
    with torch.no_grad():
        weight = teacher.head.deeplab.last.weight
        weight[others] = torch.lerp(weight[others], weight[others].mean(0, keepdim=True), strength)
        slope = teacher.head.evidence.slope
        slope[others] = torch.lerp(slope[others], slope[others].mean(0, keepdim=True), strength)


def evaluate(teacher: Lite0Segmenter, photos: Sequence[LabelledPhoto]) -> MaskFigures:
    """Run the teacher on whole photographs at their own size and compare with their masks."""
    confusion = Confusion(len(teacher.spec.classes))
    for photo in photos:
        confusion.add(photo.mask(), predict(teacher, photo.image()))
    return confusion.figures()


def predict(teacher: Lite0Segmenter, image: Pixels) -> Pixels:
    """RGB uint8 [H, W, 3] to classes uint8 [H, W]."""
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = upsample_logits(teacher.tail(teacher.stem(pixels)), (image.shape[0], image.shape[1]))
    return logits[0].argmax(0).to(torch.uint8).numpy()
