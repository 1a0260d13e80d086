"""Boxes from RetinaNet's raw outputs: anchors, box decoding, thresholds and non-maximum suppression, in numpy.

Follows torchvision's ``RetinaNet.postprocess_detections``, ``AnchorGenerator`` and ``BoxCoder`` step by step; it lives
outside the engines because NonMaxSuppression parses in TensorRT and then does not build.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import AnchorLevel, DetectionParameters
from ptp_runtime.tasks.results import Detections

Float = npt.NDArray[np.float32]

_LARGEST_LOG_RATIO = math.log(1000.0 / 16)
"""Bound on the logarithm by which a box may outgrow its anchor; torchvision's BoxCoder."""

_BATCH_MULTIPLE = 32
"""torchvision pads its batches to a multiple of this before it derives the strides of the coarse levels."""


def grid_shape(height: int, width: int, level: AnchorLevel) -> tuple[int, int]:
    """Rows and columns of a level's grid: each halving of the feature rounds up."""
    return -(-height // level.stride), -(-width // level.stride)


def anchor_count(height: int, width: int, parameters: DetectionParameters) -> int:
    """Number of anchors over all levels for an image of this size."""
    ratios = len(parameters.aspect_ratios)
    return sum(math.prod(grid_shape(height, width, lv)) * len(lv.sizes) * ratios for lv in parameters.levels)


def level_anchors(height: int, width: int, level: AnchorLevel, aspect_ratios: tuple[float, ...]) -> Float:
    """The anchors of one level, float32 (rows·columns·ratios·sizes, 4), in the order of torchvision's generator.

    The distance between the cells is the padded image's side over the grid's, rounded down: the nominal stride up to
    32, and a little less above it.
    """
    sizes = np.array(level.sizes, np.float32)
    tall = np.sqrt(np.array(aspect_ratios, np.float32))
    widths = ((1 / tall)[:, None] * sizes[None, :]).ravel()
    heights = (tall[:, None] * sizes[None, :]).ravel()
    cell = np.rint(np.stack([-widths, -heights, widths, heights], axis=1) / 2).astype(np.float32)
    rows, columns = grid_shape(height, width, level)
    step_y = -(-height // _BATCH_MULTIPLE) * _BATCH_MULTIPLE // rows
    step_x = -(-width // _BATCH_MULTIPLE) * _BATCH_MULTIPLE // columns
    y = np.repeat(np.arange(rows, dtype=np.float32) * step_y, columns)
    x = np.tile(np.arange(columns, dtype=np.float32) * step_x, rows)
    shifts = np.stack([x, y, x, y], axis=1)
    anchors: Float = (shifts[:, None, :] + cell[None, :, :]).reshape(-1, 4)
    return anchors


def decode_boxes(deltas: Float, anchors: Float, weights: tuple[float, float, float, float]) -> Float:
    """Boxes (n, 4) from the deltas (n, 4) that the network gives relative to the anchors (n, 4)."""
    size = anchors[:, 2:] - anchors[:, :2]
    centre = anchors[:, :2] + np.float32(0.5) * size
    scaled = deltas / np.array(weights, np.float32)
    middle = scaled[:, :2] * size + centre
    half = np.float32(0.5) * np.exp(np.minimum(scaled[:, 2:], np.float32(_LARGEST_LOG_RATIO))) * size
    boxes: Float = np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)
    return boxes


def nms(boxes: Float, scores: Float, threshold: float) -> npt.NDArray[np.int64]:
    """Indices of the boxes that survive non-maximum suppression, the best first.

    A box is dropped when a kept box with a higher score overlaps it by more than ``threshold`` (intersection over
    union). Equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        rest = boxes[i + 1 :]
        side = np.minimum(boxes[i, 2:], rest[:, 2:]) - np.maximum(boxes[i, :2], rest[:, :2])
        overlap = np.prod(np.maximum(side, 0), axis=1)
        # Multiplied out: two boxes without area would divide 0 by 0.
        alive[i + 1 :] &= overlap <= np.float32(threshold) * (area[i] + area[i + 1 :] - overlap)
    return order[np.array(kept, np.int64)]


def detections_from_raw(
    logits: Float,
    deltas: Float,
    coded: tuple[int, int],
    original: tuple[int, int],
    parameters: DetectionParameters,
    classes: tuple[str, ...],
) -> Detections:
    """Boxes, scores and labels from the head's outputs.

    Args:
        logits: float32 [anchors, classes], before the sigmoid.
        deltas: float32 [anchors, 4].
        coded: height and width of the image that was coded.
        original: height and width of the photo, whose pixels the boxes are given in.
        parameters: from the manifest.
        classes: the names.

    Raises:
        EngineError: the outputs have another number of anchors or classes than the manifest implies.
    """
    expected = anchor_count(*coded, parameters)
    if logits.shape != (expected, len(classes)) or deltas.shape != (expected, 4):
        raise EngineError(
            "the head's outputs have another shape",
            expected=f"{expected} anchors, {len(classes)} classes and 4 deltas",
            got=f"logits {logits.shape}, deltas {deltas.shape}",
            hint="export the bundle again",
        )
    found: list[tuple[Float, Float, npt.NDArray[np.int64]]] = []
    start = 0
    for level in parameters.levels:
        anchors = level_anchors(*coded, level, parameters.aspect_ratios)
        part = slice(start, start + len(anchors))
        found.append(_best_of_level(logits[part], deltas[part], anchors, coded, parameters))
        start += len(anchors)
    boxes, scores, labels = (np.concatenate(column) for column in zip(*found, strict=True))
    keep = _nms_by_class(boxes, scores, labels, parameters.nms_threshold)[: parameters.detections_per_image]
    scale_y, scale_x = original[0] / coded[0], original[1] / coded[1]
    scale = np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
    return Detections(boxes[keep] * scale, scores[keep], labels[keep], classes)


def _best_of_level(
    logits: Float, deltas: Float, anchors: Float, coded: tuple[int, int], parameters: DetectionParameters
) -> tuple[Float, Float, npt.NDArray[np.int64]]:
    flat = logits.ravel()
    with np.errstate(over="ignore"):  # exp of a very negative logit's opposite: the score is 0, as it should be
        scores = (1 / (1 + np.exp(-flat))).astype(np.float32)
    candidates = np.flatnonzero(scores > np.float32(parameters.score_threshold))
    best = np.argsort(-scores[candidates], kind="stable")[: parameters.candidates_per_level]
    candidates = candidates[best]
    anchor, label = np.divmod(candidates, logits.shape[1])
    boxes = decode_boxes(deltas[anchor], anchors[anchor], parameters.box_weights)
    height, width = coded
    boxes[:, 0::2] = np.clip(boxes[:, 0::2], 0, width)
    boxes[:, 1::2] = np.clip(boxes[:, 1::2], 0, height)
    return boxes, scores[candidates], label.astype(np.int64)


def _nms_by_class(
    boxes: Float, scores: Float, labels: npt.NDArray[np.int64], threshold: float
) -> npt.NDArray[np.int64]:
    """:func:`nms` within each class; the survivors of all classes, the best first."""
    kept = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        kept.append(members[nms(boxes[members], scores[members], threshold)])
    indices = np.concatenate(kept)
    # Ties in the order of the candidates, as torchvision's stable sort leaves them.
    indices = np.sort(indices)
    return indices[np.argsort(-scores[indices], kind="stable")]
