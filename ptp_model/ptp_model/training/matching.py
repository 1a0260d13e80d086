"""Which anchor answers for which annotated box, and what it should say: pure functions of boxes and anchors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptp_model.errors import ModelError
from ptp_model.teachers.boxes import encode

#: The paper's equation (2): an anchor takes part when it overlaps an annotated box by more than this.
MATCHED_IOU = 0.5


@dataclass(frozen=True)
class BoxLabels:
    """Annotated boxes of one picture.

    Attributes:
        boxes: float32 [n, 4], (x1, y1, x2, y2) in pixels, each with an area.
        labels: int64 [n], COCO category ids.
    """

    boxes: Tensor
    labels: Tensor


@dataclass(frozen=True)
class AnchorTargets:
    """What the anchors of one picture should say.

    Attributes:
        positives: bool [A], the matched anchors.
        labels: int64 [A], class of the matched box; 0 elsewhere.
        deltas: float32 [A, 4], RetinaNet's deltas from the anchor to its box; 0 elsewhere.
    """

    positives: Tensor
    labels: Tensor
    deltas: Tensor


def overlaps(boxes: Tensor, reference: Tensor) -> Tensor:
    """Intersection over union of every box [n, 4] with every anchor [A, 4]: [n, A]."""
    low = torch.maximum(boxes[:, None, :2], reference[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], reference[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    reference_area = (reference[:, 2:] - reference[:, :2]).prod(1)
    return shared / (area[:, None] + reference_area[None, :] - shared)


def matched(boxes: Tensor, reference: Tensor, least: float = MATCHED_IOU) -> Tensor:
    """Number of the box that each anchor answers for, the one it overlaps most: int64 [A], -1 for none.

    Args:
        boxes: [n, 4].
        reference: anchors [A, 4].
        least: the overlap must be above it.
    """
    if len(boxes) == 0:
        return torch.full((len(reference),), -1, dtype=torch.int64, device=reference.device)
    best, owner = overlaps(boxes, reference).max(0)
    return torch.where(best > least, owner, -1)


def targets_of(found: BoxLabels, reference: Tensor, classes: int) -> AnchorTargets:
    """What anchors [A, 4] should say of a picture with these annotated boxes.

    Raises:
        ModelError: a label is not one of the detector's classes.
    """
    if len(found.labels) and not 0 <= int(found.labels.min()) <= int(found.labels.max()) < classes:
        raise ModelError(
            f"annotated boxes: expected categories below {classes}, got {int(found.labels.min())} to "
            f"{int(found.labels.max())}; use COCO's category ids"
        )
    owner = matched(found.boxes, reference)
    positives = owner >= 0
    labels = torch.zeros_like(owner)
    deltas = torch.zeros(len(owner), 4, device=reference.device)
    labels[positives] = found.labels[owner[positives]]
    deltas[positives] = encode(found.boxes[owner[positives]], reference[positives])
    return AnchorTargets(positives, labels, deltas)
