"""The small teachers: raw outputs, what ships of them, and how they are built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ptp_model import teachers
from ptp_model.errors import SpecError, WeightsError
from ptp_model.teachers import boxes
from ptp_model.teachers.spec import DetectionOutput, SegmentationOutput

NAME = "efficientnet-lite0"


@pytest.fixture(scope="module")
def segmenter() -> teachers.Teacher:
    return teachers.build(NAME, "seg")


@pytest.fixture(scope="module")
def detector() -> teachers.Teacher:
    return teachers.build(NAME, "det")


def _noise(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize("size", [(1, 1), (64, 96), (65, 98), (51, 67)])
def test_segmenter_shapes(segmenter: teachers.Teacher, size: tuple[int, int]) -> None:
    output = segmenter.spec.output
    assert isinstance(output, SegmentationOutput)
    with torch.no_grad():
        h = segmenter.stem(_noise(*size))
        logits = segmenter.tail(h)
    assert isinstance(logits, torch.Tensor)
    assert h.shape == (
        1,
        segmenter.spec.feature_channels,
        *(-(-side // segmenter.spec.feature_stride) for side in size),
    )
    assert logits.shape == (1, len(segmenter.spec.classes), *(-(-side // output.output_stride) for side in size))
    assert teachers.upsample_logits(logits, size).shape[-2:] == size


@pytest.mark.parametrize("size", [(1, 1), (64, 96), (65, 130), (201, 67)])
def test_detector_shapes(detector: teachers.Teacher, size: tuple[int, int]) -> None:
    output = detector.spec.output
    assert isinstance(output, DetectionOutput)
    with torch.no_grad():
        logits, deltas = detector.tail(detector.stem(_noise(*size)))
    count = sum(rows * columns for rows, columns in boxes.level_shapes(output, *size)) * output.anchors_per_cell
    assert logits.shape == (1, count, len(detector.spec.classes))
    assert deltas.shape == (1, count, 4)
    assert sum(len(level) for level in boxes.anchors(output, *size)) == count


def test_all_tasks_share_one_stem(segmenter: teachers.Teacher, detector: teachers.Teacher) -> None:
    image = _noise(60, 70)
    with torch.no_grad():
        h = segmenter.stem(image)
        assert torch.equal(h, detector.stem(image))
        assert torch.equal(h, teachers.build(NAME, "cls").stem(image))


@pytest.mark.parametrize("task", ["seg", "det", "cls"])
def test_teachers_are_born_frozen(task: str) -> None:
    teacher = teachers.build(NAME, task)
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("task", ["seg", "det"])
def test_head_state_carries_the_head_and_nothing_of_the_backbone(task: str) -> None:
    first, second = teachers.build(NAME, task), teachers.build(NAME, task)
    state = first.head_state()
    assert {str(value.dtype) for value in state.values()} == {"torch.float16", "torch.float32"}
    count = sum(value.numel() for value in state.values())
    assert sum(value.numel() for value in state.values() if value.dtype == torch.float16) > 0.98 * count
    assert count <= 1_100_000
    image = _noise(40, 50)
    first.load_head_state(state)
    second.load_head_state(state)
    with torch.no_grad():
        for one, other in zip(_outputs(first(image)), _outputs(second(image)), strict=True):
            assert torch.equal(one, other)
    again = first.head_state()
    assert all(torch.equal(again[name], state[name]) for name in state)  # rounding happens once


def _outputs(output: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return (output,) if isinstance(output, torch.Tensor) else output


def test_the_classifier_ships_nothing() -> None:
    assert teachers.build(NAME, "cls").head_state() == {}


def test_head_from_a_file(segmenter: teachers.Teacher, tmp_path: Path) -> None:
    path = tmp_path / "seg.safetensors"
    save_file(segmenter.head_state(), path)
    loaded = teachers.build(NAME, "seg", path)
    assert all(torch.equal(value, loaded.head_state()[name]) for name, value in segmenter.head_state().items())


def test_a_head_with_a_missing_tensor_is_refused(segmenter: teachers.Teacher) -> None:
    state = segmenter.head_state()
    del state["deeplab.1.weight"]
    with pytest.raises(
        WeightsError, match=r"seg head: expected exactly 39 tensors, got 1 missing \(deeplab\.1\.weight\)"
    ):
        segmenter.load_head_state(state)


def test_a_head_with_an_unknown_tensor_is_refused(segmenter: teachers.Teacher) -> None:
    with pytest.raises(WeightsError, match=r"1 unknown \(deeplab\.5\.weight\)"):
        segmenter.load_head_state({**segmenter.head_state(), "deeplab.5.weight": torch.zeros(1)})


def test_a_head_of_another_shape_is_refused(segmenter: teachers.Teacher) -> None:
    with pytest.raises(WeightsError, match=r"tensor deeplab\.4\.bias: expected shape \[21\], got \[20\]"):
        segmenter.load_head_state({**segmenter.head_state(), "deeplab.4.bias": torch.zeros(20)})


def test_a_head_with_nan_is_refused(segmenter: teachers.Teacher) -> None:
    state = segmenter.head_state()
    state["deeplab.4.bias"] = torch.full((21,), float("nan"))
    with pytest.raises(WeightsError, match="expected finite values"):
        segmenter.load_head_state(state)


def test_a_refused_head_changes_nothing(segmenter: teachers.Teacher) -> None:
    before = segmenter.head_state()
    state = {name: torch.ones_like(value) for name, value in before.items()}
    state["deeplab.4.bias"] = torch.zeros(20)
    with pytest.raises(WeightsError):
        segmenter.load_head_state(state)
    assert all(torch.equal(value, segmenter.head_state()[name]) for name, value in before.items())


@pytest.mark.parametrize(("name", "task"), [("vgg", "seg"), (NAME, "view"), ("resnet50", "cls")])
def test_unknown_teachers_are_refused(name: str, task: str) -> None:
    with pytest.raises(SpecError, match="expected one of"):
        teachers.build(name, task)


@pytest.mark.parametrize(("name", "task"), [(NAME, "seg"), (NAME, "det"), (NAME, "cls")])
def test_specs_are_plain_json(name: str, task: str) -> None:
    spec = teachers.build(name, task).spec
    document = json.loads(json.dumps(spec.to_dict()))
    assert document == spec.to_dict()
    assert document["padding"] == "tf-same"
    assert document["feature_channels"] == 24
    assert len(document["classes"]) == {"seg": 21, "det": 91, "cls": 1000}[task]


def test_class_names_are_in_the_order_of_the_outputs(segmenter: teachers.Teacher, detector: teachers.Teacher) -> None:
    assert segmenter.spec.classes[0] == "__background__"
    assert (segmenter.spec.classes[8], segmenter.spec.classes[15]) == ("cat", "person")
    assert (detector.spec.classes[1], detector.spec.classes[17], detector.spec.classes[90]) == (
        "person",
        "cat",
        "toothbrush",
    )
    assert detector.spec.classes[12] == "N/A"
