"""The detection head: focal loss and box regression on cached features of a frozen backbone (arXiv 1708.02002)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_model.errors import ModelError
from ptp_model.teachers.boxes import anchors, detections, encode
from ptp_model.teachers.lite0_teachers import Lite0Detector
from ptp_model.training.data import LabelledPhoto, Pixels
from ptp_model.training.heads.augment import BoxCropConfig, jitter, random_box_crop
from ptp_model.training.heads.metrics import average_precision
from ptp_model.training.heads.segmentation import Report
from ptp_model.training.matching import overlaps

#: Weight of objects against background; the exponent gamma is 2, written as a square.
FOCAL_ALPHA = 0.25

#: RetinaNet's matching: an anchor is an object's above the first overlap, and nobody's below the second.
FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.4


@dataclass(frozen=True)
class DetectionTraining:
    """Attributes:
    seed: of crops, batches and the head's first weights.
    pool: augmented crops whose features are kept (float16, 0.28 MB each at 320 pixels).
    epochs: passes over the pool.
    fine_every: the finest level, three quarters of all cells, takes part in every so many steps only. All levels share
        the two sub-networks, so those learn from the coarser levels meanwhile, at a quarter of the cost.
    box_weight: weight of the regression (L1 of the deltas per matched anchor) against the classification.
    """

    seed: int = 0
    pool: int = 1000
    epochs: int = 5
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    fine_every: int = 4
    box_weight: float = 1.0
    crop: BoxCropConfig = field(default_factory=BoxCropConfig)
    log_every: int = 25


@dataclass(frozen=True)
class BoxPool:
    """Features float16 of strides 8, 16 and 32 for n crops, and the crops' boxes [m, 4] and COCO ids [m]."""

    features: tuple[torch.Tensor, ...]
    boxes: tuple[torch.Tensor, ...]
    labels: tuple[torch.Tensor, ...]


def make_pool(
    teacher: Lite0Detector, photos: Sequence[LabelledPhoto], config: DetectionTraining, report: Report
) -> BoxPool:
    """Augment, and run the frozen backbone once per crop.

    Raises:
        ModelError: there is no photograph.
    """
    if not photos:
        raise ModelError("detection head: expected photographs, got none; give a folder in COCO's layout")
    images = [photo.image() for photo in photos]
    random = np.random.default_rng(config.seed)
    features: tuple[list[torch.Tensor], ...] = ([], [], [])
    boxes, labels = [], []
    start = time.perf_counter()
    with torch.no_grad():
        for index in range(config.pool):
            chosen = int(random.integers(len(photos)))
            image, box, label = random_box_crop(
                images[chosen], photos[chosen].boxes, photos[chosen].labels, config.crop, random
            )
            pixels = torch.from_numpy(jitter(image, config.crop.jitter, random)).permute(2, 0, 1)[None]
            for store, feature in zip(features, teacher.features(teacher.stem(pixels)), strict=True):
                store.append(feature[0].half())
            boxes.append(torch.from_numpy(box))
            labels.append(torch.from_numpy(label))
            if (index + 1) % 250 == 0:
                report({"crops": index + 1, "seconds": time.perf_counter() - start})
    return BoxPool(tuple(torch.stack(store) for store in features), tuple(boxes), tuple(labels))


def match(boxes: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Which box each anchor answers for: int64 [A], -1 = background, -2 = takes no part.

    An anchor takes the box it overlaps most; every box also keeps the anchors it overlaps best, however little.
    """
    if len(boxes) == 0:
        return torch.full((len(reference),), -1, dtype=torch.int64)
    iou = overlaps(boxes, reference)
    best, owner = iou.max(0)
    result = torch.where(best >= FOREGROUND_IOU, owner, torch.where(best < BACKGROUND_IOU, -1, -2))
    own_best = iou.max(1, keepdim=True).values
    box, anchor = torch.nonzero((iou == own_best) & (own_best > 0), as_tuple=True)
    result[anchor] = box
    return result


def focal_loss(logits: torch.Tensor, used: torch.Tensor, anchor: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Sum of the focal loss (arXiv 1708.02002, equation 5) over anchors and classes.

    Nearly all targets are 0, so the loss is first taken as if all were, and then corrected at the few others: a
    fraction of the passes over memory that a full tensor of targets costs.

    Args:
        logits: [A, K].
        used: bool [A], the anchors that take part.
        anchor: int64 [n], anchors with a target of 1 (all of them used), and
        label: int64 [n], in which class.
    """
    as_background = logits.sigmoid().square() * functional.softplus(logits)
    at = logits[anchor, label]
    as_object = (-at).sigmoid().square() * functional.softplus(-at)
    background = (as_background.sum(1) * used).sum() - as_background[anchor, label].sum()
    return (1 - FOCAL_ALPHA) * background + FOCAL_ALPHA * as_object.sum()


def prepare_head(head: nn.Module) -> None:
    """Start the sub-networks at full signal strength.

    torchvision starts them at a standard deviation of 0.01, which without normalisation layers and at this width needs
    thousands of steps before a signal passes. The last layers keep torchvision's start.
    """
    for name, module in head.named_modules():
        if isinstance(module, nn.Conv2d) and ".conv." in f".{name}.":
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def train_head(teacher: Lite0Detector, pool: BoxPool, config: DetectionTraining, report: Report) -> None:
    """Train ``teacher.head`` in place; the teacher is frozen again on return.

    Raises:
        ModelError: the loss is no longer finite.
    """
    generator = torch.Generator().manual_seed(config.seed)
    head = teacher.head.requires_grad_(True).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    per_epoch = max(1, len(pool.boxes) // config.batch)
    steps = config.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=steps + 1, pct_start=0.1
    )
    levels = anchors(teacher.output, config.crop.side_px, config.crop.side_px)
    reference = torch.cat(levels)
    start, step = time.perf_counter(), 0
    for epoch in range(config.epochs):
        order = torch.randperm(len(pool.boxes), generator=generator)
        for first in range(0, per_epoch * config.batch, config.batch):
            chosen = order[first : first + config.batch]
            coarse = step % config.fine_every != 0
            logits, deltas = head(tuple(feature[chosen].float() for feature in pool.features), int(coarse))
            owners = torch.stack([match(pool.boxes[index], reference) for index in chosen.tolist()])
            skipped = len(levels[0]) if coarse else 0
            owners = owners[:, skipped:]
            row, anchor = torch.nonzero(owners >= 0, as_tuple=True)
            counts = torch.tensor([len(pool.boxes[index]) for index in chosen.tolist()])
            # Boxes of the batch one after the other: a box's place is its number plus the boxes of earlier crops.
            place = owners[row, anchor] + (counts.cumsum(0) - counts)[row]
            boxes = torch.cat([pool.boxes[index] for index in chosen.tolist()])
            labels = torch.cat([pool.labels[index] for index in chosen.tolist()])
            flat = row * owners.shape[1] + anchor
            objects = max(1, len(flat))
            classification = focal_loss(logits.flatten(0, 1), owners.flatten() != -2, flat, labels[place]) / objects
            wanted = encode(boxes[place], reference[skipped:][anchor])
            regression = (deltas[row, anchor] - wanted).abs().sum() / objects
            loss = classification + config.box_weight * regression
            value = loss.item()
            if not math.isfinite(value):
                raise ModelError(f"detection head: the loss is {value} at step {step}; lower the learning rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            step += 1
            if step % config.log_every == 0 or step == steps:
                report(
                    {
                        "step": step,
                        "epoch": epoch,
                        "loss": value,
                        "classification": classification.item(),
                        "regression": regression.item(),
                        "seconds": time.perf_counter() - start,
                        "learning_rate": float(schedule.get_last_lr()[0]),
                    }
                )
    teacher.freeze()


def predict(teacher: Lite0Detector, image: Pixels) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """RGB uint8 [H, W, 3] to boxes [n, 4] in pixels, scores [n] and COCO ids [n], by decreasing score."""
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits, deltas = teacher.tail(teacher.stem(pixels))
    return detections(teacher.output, logits[0], deltas[0], image.shape[0], image.shape[1])


def evaluate(teacher: Lite0Detector, photos: Sequence[LabelledPhoto], iou_threshold: float = 0.5) -> dict[str, float]:
    """Average precision at one overlap, for every class that occurs on the photographs.

    Returns:
        class name -> average precision; ``mean`` is their mean.
    """
    found = [tuple(part.numpy() for part in predict(teacher, photo.image())) for photo in photos]
    figures: dict[str, float] = {}
    for label in sorted({int(value) for photo in photos for value in photo.labels}):
        rows = [
            (boxes[classes == label], scores[classes == label], photo.boxes[photo.labels == label])
            for (boxes, scores, classes), photo in zip(found, photos, strict=True)
        ]
        figures[teacher.spec.classes[label]] = average_precision(rows, iou_threshold)
    if not figures:
        raise ModelError("detection head: expected photographs with boxes to compare with, got none")
    figures["mean"] = float(np.mean(list(figures.values())))
    return figures
