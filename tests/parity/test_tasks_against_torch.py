"""Post-processing against torch and torchvision themselves, at sizes that are no multiples of anything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ptp_model  # noqa: F401 - torchvision needs its operator shim first
from ptp_runtime.manifest import DetectionParameters
from ptp_runtime.resample import resize_pixels
from ptp_runtime.tasks.detection import anchor_count, decode_boxes, grid_shape, level_anchors
from ptp_runtime.tasks.segmentation import segmentation_from_logits

SIZES = [(64, 64), (300, 451), (1, 1), (97, 33), (512, 768)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_mask_is_torchs(height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    logits = rng.normal(size=(21, -(-height // 16), -(-width // 16))).astype(np.float32)

    mask = segmentation_from_logits(logits, height, width, tuple(str(i) for i in range(21))).mask

    resized = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], (height, width), mode="bilinear")[0]
    differing = int(np.count_nonzero(resized.argmax(0).numpy() != mask))
    top = resized.topk(2, dim=0).values
    # Float sums in another order: a pixel may differ only where two classes are equal to the last bits.
    close = int((top[0] - top[1] < 1e-5).sum())
    assert differing <= close
    assert differing <= mask.size // 10_000


@pytest.mark.parametrize(("height", "width"), [(20, 31), (5, 5), (64, 48)])
def test_a_declared_resize_is_torchs(height: int, width: int) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (23, 37, 3), dtype=np.uint8)

    ours = resize_pixels(photo, height, width)

    planes = torch.from_numpy(photo.astype(np.float32).transpose(2, 0, 1))[None]
    theirs = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear")[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(64, 64), (320, 480), (544, 736), (800, 1216)])
def test_the_anchors_are_torchvisions(height: int, width: int) -> None:
    """torchvision pads its batches to multiples of 32, so these are the sizes that it ever sees."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    parameters = DetectionParameters()
    generator = AnchorGenerator(
        tuple(level.sizes for level in parameters.levels), (parameters.aspect_ratios,) * len(parameters.levels)
    )
    grids = [grid_shape(height, width, level) for level in parameters.levels]
    features = [torch.zeros(1, 1, *grid) for grid in grids]

    theirs = generator(ImageList(torch.zeros(1, 3, height, width), [(height, width)]), features)[0].numpy()

    ours = np.concatenate([level_anchors(height, width, lv, parameters.aspect_ratios) for lv in parameters.levels])
    assert anchor_count(height, width, parameters) == len(ours)
    assert np.array_equal(ours, theirs)


def test_the_boxes_are_torchvisions() -> None:
    from torchvision.models.detection._utils import BoxCoder

    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 500, (1000, 2))
    anchors = np.concatenate([corner, corner + rng.uniform(1, 300, (1000, 2))], axis=1).astype(np.float32)
    deltas = rng.normal(0, 2, (1000, 4)).astype(np.float32)
    weights = (10.0, 10.0, 5.0, 5.0)

    ours = decode_boxes(deltas, anchors, weights)

    theirs = BoxCoder(weights).decode_single(torch.from_numpy(deltas), torch.from_numpy(anchors)).numpy()
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-3)


def test_the_defaults_are_torchvisions() -> None:
    import inspect

    from torchvision.models.detection.retinanet import RetinaNet, _default_anchorgen

    defaults = {name: p.default for name, p in inspect.signature(RetinaNet.__init__).parameters.items()}
    parameters = DetectionParameters()

    assert parameters.score_threshold == defaults["score_thresh"]
    assert parameters.nms_threshold == defaults["nms_thresh"]
    assert parameters.detections_per_image == defaults["detections_per_img"]
    assert parameters.candidates_per_level == defaults["topk_candidates"]
    assert tuple(level.sizes for level in parameters.levels) == _default_anchorgen().sizes
    assert (parameters.aspect_ratios,) * 5 == _default_anchorgen().aspect_ratios


def _greedy(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """What torchvision's compiled operator does, box by box; that operator is absent beside a CPU-only torch."""
    from torchvision.ops import box_iou

    order = scores.argsort(descending=True, stable=True).tolist()
    kept: list[int] = []
    for i in order:
        # Written as the kernel writes it: the overlap of two boxes without area is NaN, which suppresses nothing.
        if not kept or not (box_iou(boxes[i : i + 1], boxes[kept]) > threshold).any():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.mark.parametrize("seed", range(3))
def test_whole_detections_are_torchvisions(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.retinanet import RetinaNet
    from torchvision.ops import boxes as box_ops

    from ptp_runtime.tasks.detection import detections_from_raw

    monkeypatch.setattr(box_ops, "nms", _greedy)
    height, width, classes = 128, 192, 5
    parameters = DetectionParameters()
    rng = np.random.default_rng(seed)
    count = anchor_count(height, width, parameters)
    logits = rng.normal(-4, 1.5, (count, classes)).astype(np.float32)
    deltas = rng.normal(0, 0.5, (count, 4)).astype(np.float32)

    ours = detections_from_raw(logits, deltas, (height, width), (height, width), parameters, tuple("abcde"))

    levels = [level_anchors(height, width, lv, parameters.aspect_ratios) for lv in parameters.levels]
    cuts = np.cumsum([len(level) for level in levels])[:-1]
    outputs = {
        "cls_logits": [torch.from_numpy(part)[None] for part in np.split(logits, cuts)],
        "bbox_regression": [torch.from_numpy(part)[None] for part in np.split(deltas, cuts)],
    }
    settings = SimpleNamespace(
        score_thresh=parameters.score_threshold,
        topk_candidates=parameters.candidates_per_level,
        box_coder=BoxCoder(parameters.box_weights),
        nms_thresh=parameters.nms_threshold,
        detections_per_img=parameters.detections_per_image,
    )
    anchors = [[torch.from_numpy(level) for level in levels]]
    theirs = RetinaNet.postprocess_detections(settings, outputs, anchors, [(height, width)])[0]
    assert len(ours.boxes) == parameters.detections_per_image
    assert np.array_equal(ours.labels, theirs["labels"].numpy())
    assert np.allclose(ours.scores, theirs["scores"].numpy(), atol=1e-6)
    assert np.allclose(ours.boxes, theirs["boxes"].numpy(), atol=1e-3)
