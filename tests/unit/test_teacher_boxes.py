"""Anchors, deltas and detections against torchvision's and against arithmetic by hand."""

from __future__ import annotations

import ptp_model  # noqa: F401  # isort: skip  # makes torchvision importable beside a torch it was not built for

import dataclasses

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from ptp_model.teachers import boxes
from ptp_model.teachers.lite0_teachers import RETINANET_OUTPUT
from ptp_model.teachers.torchvision_teachers import RETINANET_OUTPUT as TORCHVISION_OUTPUT


@pytest.mark.parametrize("size", [(800, 1056), (320, 320), (96, 352)])
def test_anchors_are_torchvisions(size: tuple[int, int]) -> None:
    output = TORCHVISION_OUTPUT
    generator = AnchorGenerator(output.sizes, (output.aspect_ratios,) * len(output.sizes))
    maps = [torch.zeros(1, 1, *shape) for shape in boxes.level_shapes(output, *size)]
    expected = generator(ImageList(torch.zeros(1, 3, *size), [size]), maps)[0]
    assert torch.equal(torch.cat(boxes.anchors(output, *size)), expected)


def test_our_anchors_step_by_the_stride_whatever_the_side() -> None:
    for side in (130, 640):  # 130 pixels are 9 cells of stride 16; torchvision would step by 14
        level = boxes.anchors(RETINANET_OUTPUT, side, side)[1]
        assert ((level[9:18] - level[:9]) == torch.tensor([16.0, 0.0, 16.0, 0.0])).all()


def test_first_anchors_by_hand() -> None:
    first = boxes.anchors(RETINANET_OUTPUT, 8, 8)[0]
    # 32 px, ratio 0.5: 45.25 wide, 22.63 high, halved and rounded; ratio 1: 32 by 32; ratio 2: the first turned.
    assert first.shape == (9, 4)
    assert first[0].tolist() == [-23.0, -11.0, 23.0, 11.0]
    assert first[3].tolist() == [-16.0, -16.0, 16.0, 16.0]
    assert first[6].tolist() == [-11.0, -23.0, 11.0, 23.0]


def test_deltas_are_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    corner, size = torch.rand(50, 2, generator=generator) * 100, torch.rand(50, 2, generator=generator) * 60 + 4
    truth = torch.cat([corner, corner + size], dim=1)
    reference = truth[torch.randperm(50, generator=generator)]
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    deltas = boxes.encode(truth, reference)
    torch.testing.assert_close(deltas, coder.encode_single(truth, reference), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(boxes.decode(deltas, reference, 10.0), truth, rtol=1e-4, atol=1e-3)
    wild = deltas * 30
    expected = coder.decode_single(wild, reference)
    torch.testing.assert_close(
        boxes.decode(wild, reference, RETINANET_OUTPUT.max_log_scale), expected, rtol=1e-5, atol=1e-3
    )


def _raw(hits: dict[int, tuple[int, float]], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.full((count, 91), -20.0)
    for anchor, (label, logit) in hits.items():
        logits[anchor, label] = logit
    return logits, torch.zeros(count, 4)


def test_detections_suppress_within_a_class_only() -> None:
    levels = boxes.anchors(RETINANET_OUTPUT, 64, 64)
    count = sum(len(level) for level in levels)
    cell = 9 * (8 * 4 + 4)  # row 4, column 4 of the first level: anchors around (32, 32)
    found = boxes.detections(
        RETINANET_OUTPUT, *_raw({cell + 3: (1, 2.0), cell + 4: (1, 1.0), cell + 5: (17, 0.5)}, count), 64, 64
    )
    assert found[2].tolist() == [1, 17]
    assert found[0][0].tolist() == [16.0, 16.0, 48.0, 48.0]
    assert found[1].tolist() == pytest.approx([torch.tensor(2.0).sigmoid().item(), torch.tensor(0.5).sigmoid().item()])


def test_detections_stay_inside_the_image_and_may_be_none() -> None:
    count = sum(len(level) for level in boxes.anchors(RETINANET_OUTPUT, 30, 50))
    found = boxes.detections(RETINANET_OUTPUT, *_raw({}, count), 30, 50)
    assert [len(part) for part in found] == [0, 0, 0]
    found = boxes.detections(RETINANET_OUTPUT, *_raw({count - 1: (3, 4.0)}, count), 30, 50)
    assert found[0].tolist() == [[0.0, 0.0, 50.0, 30.0]]


def test_detections_are_capped() -> None:
    output = dataclasses.replace(RETINANET_OUTPUT, max_detections=3, iou_threshold=1.0)
    count = sum(len(level) for level in boxes.anchors(output, 64, 64))
    logits = torch.zeros(count, 91)
    assert [len(part) for part in boxes.detections(output, logits, torch.zeros(count, 4), 64, 64)] == [3, 3, 3]
