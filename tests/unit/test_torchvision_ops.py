"""The stand-in for torchvision's compiled operators."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ptp_model import torchvision_ops

Array = npt.NDArray[np.float32]


def reference_nms(boxes: Array, scores: Array, threshold: float) -> list[int]:
    """The definition, one pair of boxes at a time."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        for other in kept:
            low = np.maximum(boxes[index, :2], boxes[other, :2])
            high = np.minimum(boxes[index, 2:], boxes[other, 2:])
            overlap = float(np.clip(high - low, 0, None).prod())
            areas = [float((boxes[i, 2:] - boxes[i, :2]).prod()) for i in (index, other)]
            union = sum(areas) - overlap
            if union > 0 and overlap / union > threshold:
                break
        else:
            kept.append(int(index))
    return kept


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("count", [0, 1, 2, 150])
def test_nms_keeps_what_the_definition_keeps(count: int, threshold: float) -> None:
    random = np.random.default_rng(count)
    corner = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(1, 40, (count, 2))], axis=1).astype(np.float32)
    scores = random.integers(0, 20, count).astype(np.float32)  # ties on purpose
    kept = torchvision_ops.nms_cpu(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert kept.dtype == torch.int64
    assert kept.tolist() == reference_nms(boxes, scores, threshold)


def test_nms_drops_only_what_overlaps_more_than_the_threshold() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert torchvision_ops.nms_cpu(boxes, scores, 0.5).tolist() == [0, 1]  # an overlap of exactly 0.5 stays
    assert torchvision_ops.nms_cpu(boxes, scores, 0.49).tolist() == [0]


def test_nms_leaves_empty_boxes_alone() -> None:
    boxes = torch.zeros(2, 4)
    assert torchvision_ops.nms_cpu(boxes, torch.tensor([0.1, 0.2]), 0.5).tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(3, 5), (3,), (2, 4)])
def test_nms_refuses_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match="expected boxes"):
        torchvision_ops.nms_cpu(torch.zeros(shape), torch.zeros(3), 0.5)


def test_the_operator_is_reachable_under_torchvisions_name() -> None:
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.1], [9.0, 9.0, 10.0, 10.0]])
    scores = torch.tensor([0.1, 0.2, 0.3])
    assert torch.ops.torchvision.nms(boxes, scores, 0.5).tolist() == [2, 1]


def _run(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=_environment(), check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_torchvision_imports_after_our_package_alone() -> None:
    assert _run("import ptp_model, torchvision.models.detection; print('fine')") == "fine"


def test_existing_operators_are_left_alone() -> None:
    code = """
import torch
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.impl("nms", lambda dets, scores, iou_threshold: torch.tensor([42]), "CPU")
import importlib.util
from ptp_model import torchvision_ops
print(torchvision_ops.ensure(), torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5).item())
"""
    assert _run(code) == "False 42"
