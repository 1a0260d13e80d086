"""Anchors, box deltas and the choice of detections, as :class:`DetectionOutput` words them, in torch.

Training matches its targets with these, and evaluation reads detections with them. A device does the same in numpy,
in code of its own; the two are compared by a test.
"""

from __future__ import annotations

import torch

from ptp_model.teachers.spec import DetectionOutput
from ptp_model.torchvision_ops import nms_cpu


def level_shapes(output: DetectionOutput, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Cells (rows, columns) of every level for an image of that size."""
    return tuple((-(-height // stride), -(-width // stride)) for stride in output.strides)


def anchors(output: DetectionOutput, height: int, width: int) -> tuple[torch.Tensor, ...]:
    """Anchor boxes of an image, per level float32 [rows * columns * anchors_per_cell, 4] as (x1, y1, x2, y2) in
    pixels."""
    levels = []
    shapes = level_shapes(output, height, width)
    for (rows, columns), stride, sizes in zip(shapes, output.strides, output.sizes, strict=True):
        root = torch.tensor(output.aspect_ratios).sqrt()
        side = torch.tensor(sizes, dtype=torch.float32)
        half_width = (side[None, :] / root[:, None]).flatten() / 2
        half_height = (side[None, :] * root[:, None]).flatten() / 2
        corners = torch.stack([-half_width, -half_height, half_width, half_height], dim=1).round()
        by_stride = output.step == "stride"
        x = torch.arange(columns) * (stride if by_stride else width // columns)
        y = torch.arange(rows) * (stride if by_stride else height // rows)
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=-1).reshape(-1, 1, 4)
        levels.append((centres + corners).reshape(-1, 4))
    return tuple(levels)


def encode(boxes: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Deltas [n, 4] that carry the anchors ``reference`` [n, 4] onto ``boxes`` [n, 4]."""
    size, reference_size = boxes[:, 2:] - boxes[:, :2], reference[:, 2:] - reference[:, :2]
    centre, reference_centre = boxes[:, :2] + size / 2, reference[:, :2] + reference_size / 2
    return torch.cat([(centre - reference_centre) / reference_size, (size / reference_size).log()], dim=1)


def decode(deltas: torch.Tensor, reference: torch.Tensor, max_log_scale: float) -> torch.Tensor:
    """The inverse of :func:`encode`; the logarithm of a scale is limited to ``max_log_scale``."""
    reference_size = reference[:, 2:] - reference[:, :2]
    centre = reference[:, :2] + reference_size / 2 + deltas[:, :2] * reference_size
    size = reference_size * deltas[:, 2:].clamp(max=max_log_scale).exp()
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def detections(
    output: DetectionOutput, cls_logits: torch.Tensor, box_deltas: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What one image shows.

    Args:
        cls_logits: [A, K].
        box_deltas: [A, 4].

    Returns:
        boxes float32 [n, 4] in pixels, scores float32 [n], classes int64 [n], by decreasing score.
    """
    levels = anchors(output, height, width)
    counts = [len(level) for level in levels]
    boxes, scores, classes = [], [], []
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    parts = zip(levels, torch.split(cls_logits.float(), counts), torch.split(box_deltas.float(), counts), strict=True)
    for level, logits, deltas in parts:
        score = logits.sigmoid().flatten()
        candidates = torch.nonzero(score > output.score_threshold).flatten()
        best = torch.sort(score[candidates], descending=True, stable=True).indices[: output.candidates_per_level]
        chosen = candidates[best]
        row = chosen // logits.shape[1]
        box = decode(deltas[row], level[row], output.max_log_scale)
        boxes.append(torch.minimum(box.clamp(min=0), limit))
        scores.append(score[chosen])
        classes.append(chosen % logits.shape[1])
    all_boxes, all_scores, all_classes = torch.cat(boxes), torch.cat(scores), torch.cat(classes)
    kept = []
    for label in sorted(set(all_classes.tolist())):
        members = torch.nonzero(all_classes == label).flatten()
        kept.append(members[nms_cpu(all_boxes[members], all_scores[members], output.iou_threshold)])
    if not kept:
        return all_boxes, all_scores, all_classes
    indices = torch.cat(kept)
    indices = indices[torch.sort(all_scores[indices], descending=True, stable=True).indices[: output.max_detections]]
    return all_boxes[indices], all_scores[indices], all_classes[indices]
