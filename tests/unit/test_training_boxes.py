"""Annotated boxes in stage 2: which anchors they match, crops that carry them, and the loss that reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ptp_model.codec import FeatureCodec
from ptp_model.errors import ModelError
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset
from ptp_model.teachers import build
from ptp_model.teachers.boxes import anchors, decode
from ptp_model.teachers.spec import DetectionOutput
from ptp_model.training import stage2
from ptp_model.training.box_crops import BoxCrops
from ptp_model.training.loop import LoopConfig, Watch
from ptp_model.training.matching import BoxLabels, matched, overlaps, targets_of
from ptp_model.training.stage2 import Batch, Stage2Config, train_stage2

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 20]])


def labels_of(*rows: tuple[list[float], int]) -> BoxLabels:
    boxes = torch.tensor([box for box, _ in rows]).reshape(-1, 4)
    return BoxLabels(boxes, torch.tensor([label for _, label in rows], dtype=torch.int64))


def test_overlaps_by_hand() -> None:
    found = overlaps(torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), ANCHORS)
    assert found.tolist() == [pytest.approx([1, 1 / 3, 0, 0.5]), [0, 0, 0, 0]]


def test_an_anchor_takes_the_box_that_it_overlaps_most() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 12], [20, 20, 30, 29]])
    assert matched(boxes, ANCHORS).tolist() == [0, -1, 2, 1]


def test_half_an_overlap_is_not_enough() -> None:
    """The paper says above 0.5."""
    assert matched(torch.tensor([[0.0, 0, 10, 10]]), ANCHORS)[3] == -1
    assert matched(torch.tensor([[0.0, 0, 10, 10.5]]), ANCHORS)[3] == 0


def test_no_box_matches_nothing() -> None:
    assert matched(torch.zeros(0, 4), ANCHORS).tolist() == [-1] * 4


def test_targets_lead_from_the_anchor_to_its_box() -> None:
    found = labels_of(([1.0, 1, 10, 10], 17), ([20.0, 20, 29, 31], 3))
    targets = targets_of(found, ANCHORS, 91)
    assert targets.positives.tolist() == [True, False, True, False]
    assert targets.labels.tolist() == [17, 0, 3, 0]
    boxes = decode(targets.deltas[targets.positives], ANCHORS[targets.positives], 10.0)
    assert torch.allclose(boxes, found.boxes, atol=1e-5)
    assert not targets.deltas[~targets.positives].any()


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(ModelError, match="expected categories below 91, got 91 to 91"):
        targets_of(labels_of(([0.0, 0, 9, 9], 91)), ANCHORS, 91)


def white_square() -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[30:90, 40:100] = 255
    return photo, np.array([[40, 30, 100, 90]], np.float32)


def test_crops_carry_their_boxes_and_follow_seed_and_step() -> None:
    photo, boxes = white_square()
    source = BoxCrops([photo, photo], [(boxes, np.array([7])), None], side=64, seed=3)
    seen = {True: 0, False: 0}
    for step in range(12):
        batch, again = source(step, 4), source(step, 4)
        assert torch.equal(batch.image, again.image)
        assert batch.image.shape == (4, 3, 64, 64)
        for picture, found in zip(batch.image, batch.boxes, strict=True):
            seen[found is not None] += 1
            if found is not None and len(found.boxes):
                assert found.labels.tolist() == [7]
                rows, columns = torch.nonzero(picture[0] > 0.75, as_tuple=True)
                edges = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert (found.boxes[0] - edges).abs().max() <= 2.5
    assert min(seen.values()) > 5
    assert not torch.equal(source(0, 4).image, source(1, 4).image)


def test_a_photograph_without_objects_is_annotated_too() -> None:
    photo, _ = white_square()
    source = BoxCrops([photo], [(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))], side=64, seed=0)
    (found,) = source(0, 1).boxes
    assert found is not None
    assert found.boxes.shape == (0, 4)


def detection(batch: Batch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Terms of the loss for a teacher that is sure of anchor 5 alone and says class 2 there; the student says 0."""
    teacher = build("efficientnet-lite0", "det")
    output = teacher.spec.output
    assert isinstance(output, DetectionOutput)
    reference = torch.cat(anchors(output, 128, 128))
    theirs = (
        torch.full((len(batch.image), len(reference), 91), -6.0),
        torch.zeros(len(batch.image), len(reference), 4),
    )
    theirs[0][:, 5, 2] = 4.0
    ours = (torch.zeros_like(theirs[0]), torch.zeros_like(theirs[1]))
    nothing = torch.zeros(len(batch.image))
    _, terms = stage2._detection(theirs, ours, nothing, nothing, nothing, teacher, batch, Stage2Config())
    return dict(terms), reference


def test_annotations_take_the_place_of_the_teachers_answer() -> None:
    """Three photographs: annotated with a box, annotated as empty, not annotated."""
    image = torch.rand(3, 3, 128, 128)
    box = [10.0, 10, 80, 90]
    terms, reference = detection(Batch(image, boxes=(labels_of((box, 4)), labels_of(), None)))
    count = int((overlaps(torch.tensor([box]), reference) > 0.5).sum())

    assert count > 1
    assert terms["matched_anchors"].tolist() == [count, 0, 1]
    # The student says 0 everywhere: log 2 for each of 91 classes, over N_b = the matched anchors.
    assert terms["cross_entropy"].tolist() == pytest.approx([91 * np.log(2), 0, 91 * np.log(2)], rel=1e-5)
    own = targets_of(labels_of((box, 4)), reference, 91)
    assert terms["box_regression"][0].item() == pytest.approx(own.deltas.square().sum().item() / count, rel=1e-5)
    assert terms["box_regression"][1:].tolist() == [0, 0], "the teacher's own deltas are the student's here"


def test_without_annotations_the_teachers_sure_anchors_are_the_labels() -> None:
    terms, _ = detection(Batch(torch.rand(2, 3, 128, 128)))
    assert terms["matched_anchors"].tolist() == [1, 1]


def test_prompts_learn_from_annotated_boxes_and_nothing_else_moves(tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec, teacher = FeatureCodec(preset("tiny")), build("efficientnet-lite0", "det")
    prompts = TaskPrompts(codec.spec)
    frozen = {id(m): {name: value.clone() for name, value in m.state_dict().items()} for m in (codec, teacher)}
    photo, boxes = white_square()
    batches = BoxCrops([photo], [(boxes, np.array([7]))], side=64, seed=0)
    lines: list[dict[str, float]] = []
    loop = LoopConfig(3, 1e-3, warmup_steps=1, log_every=1, save_every=100)
    watch = Watch(lambda line: lines.append(dict(line)))
    train_stage2(codec, prompts, teacher, batches, Stage2Config(batch=2), loop, tmp_path, watch)
    for module in (codec, teacher):
        assert all(torch.equal(value, frozen[id(module)][name]) for name, value in module.state_dict().items())
    assert max(line["matched_anchors"] for line in lines) > 0
    assert any(value.abs().sum() > 0 for name, value in prompts.state_dict().items() if name.endswith("bias"))
