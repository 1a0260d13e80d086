"""A few steps on tiny made-up photographs lower the loss, touch the head alone, and follow their seed."""

from __future__ import annotations

import ptp_model  # noqa: F401  # isort: skip  # makes torchvision importable beside a torch it was not built for

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torchvision.ops import sigmoid_focal_loss

from ptp_model import teachers
from ptp_model.errors import ModelError
from ptp_model.teachers.lite0_teachers import Lite0Detector, Lite0Segmenter
from ptp_model.training.data import LabelledPhoto, read_labelled
from ptp_model.training.heads import detection, segmentation
from ptp_model.training.heads.__main__ import main
from ptp_model.training.heads.augment import BoxCropConfig, CropConfig
from ptp_model.training.heads.no_pretraining import forget

SEGMENTATION = segmentation.SegmentationTraining(
    pool=12, epochs=8, batch=4, crop=CropConfig(side_px=64, short_side_px=(64, 96)), log_every=1
)
DETECTION = detection.DetectionTraining(
    pool=8, epochs=6, batch=4, crop=BoxCropConfig(side_px=64, short_side_px=(64, 96)), log_every=1
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledPhoto, ...]:
    """Bright squares ("person") and stripes ("car") on noise, eight photographs of which two are held out."""
    folder = tmp_path_factory.mktemp("labelled")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    random = np.random.default_rng(0)
    document: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for image_id in range(8):
        image = random.integers(0, 90, (80, 100, 3), dtype=np.uint8)
        mask = np.zeros((80, 100), dtype=np.uint8)
        image[20:60, 10:45] = 230
        mask[20:60, 10:45] = 15
        image[30:70, 55:95:4] = 255
        mask[30:70, 55:95] = 7
        Image.fromarray(image).save(folder / "images" / f"{image_id}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{image_id}.png")
        document["images"].append({"id": image_id, "file_name": f"{image_id}.png"})
        for label, box in ((1, [10, 20, 35, 40]), (3, [55, 30, 40, 40])):
            document["annotations"].append({"image_id": image_id, "category_id": label, "bbox": box})
    (folder / "instances.json").write_text(json.dumps(document))
    return read_labelled(folder)


def _seen(photos: tuple[LabelledPhoto, ...]) -> list[LabelledPhoto]:
    return [photo for photo in photos if not photo.held_out]


def _train_segmenter(photos: tuple[LabelledPhoto, ...]) -> tuple[Lite0Segmenter, list[Mapping[str, float]]]:
    torch.manual_seed(0)
    teacher = teachers.build("efficientnet-lite0", "seg")
    assert isinstance(teacher, Lite0Segmenter)
    lines: list[Mapping[str, float]] = []
    pool = segmentation.make_pool(teacher, _seen(photos), (), SEGMENTATION, lines.append)
    segmentation.train_head(teacher, pool, SEGMENTATION, lines.append)
    return teacher, lines


def test_segmentation_loss_falls_and_the_backbone_stays(photos: tuple[LabelledPhoto, ...]) -> None:
    teacher, lines = _train_segmenter(photos)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == SEGMENTATION.epochs * SEGMENTATION.pool // SEGMENTATION.batch
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    fresh = teachers.build("efficientnet-lite0", "seg")
    for name, value in fresh.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, teacher.state_dict()[name]), name
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    figures = segmentation.evaluate(teacher, [photo for photo in photos if photo.held_out])
    assert 0.0 <= figures.mean_iou <= figures.pixel_accuracy <= 1.0


def test_segmentation_training_follows_its_seed(photos: tuple[LabelledPhoto, ...]) -> None:
    first, second = (_train_segmenter(photos)[0].head_state() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_tied_classes_share_their_rows_and_keep_their_bias(photos: tuple[LabelledPhoto, ...]) -> None:
    teacher, _ = _train_segmenter(photos)
    last = teacher.head.deeplab[-1]
    assert isinstance(last, torch.nn.Conv2d)
    others = [index for index in range(1, 21) if index != 15]
    assert torch.allclose(last.weight[others], last.weight[others[:1]].expand(19, -1, -1, -1), atol=1e-6)
    assert not torch.allclose(last.weight[15], last.weight[1], atol=1e-3)
    assert last.bias is not None
    assert float(last.bias[7]) > float(last.bias[8])  # cars occur, cats do not


def test_segmentation_needs_masks(photos: tuple[LabelledPhoto, ...]) -> None:
    teacher = teachers.build("efficientnet-lite0", "seg")
    assert isinstance(teacher, Lite0Segmenter)
    bare = [dataclasses.replace(photo, mask_path=None) for photo in photos]
    with pytest.raises(ModelError, match="expected photographs with masks"):
        segmentation.make_pool(teacher, bare, (), SEGMENTATION, lambda figures: None)


def test_detection_loss_falls_and_the_backbone_stays(photos: tuple[LabelledPhoto, ...]) -> None:
    torch.manual_seed(0)
    teacher = teachers.build("efficientnet-lite0", "det")
    assert isinstance(teacher, Lite0Detector)
    detection.prepare_head(teacher.head)
    lines: list[Mapping[str, float]] = []
    pool = detection.make_pool(teacher, _seen(photos), DETECTION, lines.append)
    detection.train_head(teacher, pool, DETECTION, lines.append)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    fresh = teachers.build("efficientnet-lite0", "det")
    for name, value in fresh.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, teacher.state_dict()[name]), name
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    figures = detection.evaluate(teacher, [photo for photo in photos if photo.held_out])
    assert set(figures) == {"person", "car", "mean"}


def test_detection_needs_photographs() -> None:
    teacher = teachers.build("efficientnet-lite0", "det")
    assert isinstance(teacher, Lite0Detector)
    with pytest.raises(ModelError, match="expected photographs"):
        detection.make_pool(teacher, [], DETECTION, lambda figures: None)


def test_matching_by_hand() -> None:
    anchors = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4.5], [40, 40, 60, 60], [90, 90, 99, 99]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [40.0, 40.0, 44.0, 44.0]])
    # The second box overlaps its best anchor by 0.04 only, and keeps it nevertheless; 0.45 takes no part.
    assert detection.match(boxes, anchors).tolist() == [0, 0, -2, 1, -1]
    assert detection.match(torch.zeros(0, 4), anchors).tolist() == [-1] * 5


def test_focal_loss_is_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(12, 5, generator=generator)
    used = torch.ones(12, dtype=torch.bool)
    used[3] = False
    anchor, label = torch.tensor([1, 7, 7]), torch.tensor([4, 0, 2])
    targets = torch.zeros(12, 5)
    targets[anchor, label] = 1.0
    expected = sigmoid_focal_loss(logits[used], targets[used], alpha=0.25, gamma=2.0, reduction="sum")
    assert float(detection.focal_loss(logits, used, anchor, label)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("task", ["seg", "det"])
def test_the_command_writes_a_head_that_loads(photos: tuple[LabelledPhoto, ...], tmp_path: Path, task: str) -> None:
    folder = photos[0].image_path.parents[1]
    output = tmp_path / "head.safetensors"
    arguments = [task, "--data", str(folder), "-o", str(output), "--pool", "2", "--epochs", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert teachers.build("efficientnet-lite0", task, output).head_state()
    lines = [json.loads(line) for line in (tmp_path / "head.jsonl").read_text().splitlines()]
    assert lines[-1]["held_out_photographs"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.jsonl", "head.safetensors"]


def test_the_command_explains_a_folder_that_is_none(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["seg", "--data", str(tmp_path), "-o", str(tmp_path / "head.safetensors")])
    assert result.exit_code != 0
    assert "give a folder in COCO's layout" in result.output
    assert not (tmp_path / "head.safetensors").exists()


@pytest.mark.parametrize("task", ["seg", "det"])
def test_the_baseline_without_pretraining_knows_nothing_but_carries_a_signal(
    task: str, photos: tuple[LabelledPhoto, ...]
) -> None:
    teacher = teachers.build("efficientnet-lite0", task)
    assert isinstance(teacher, Lite0Segmenter | Lite0Detector)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    forget(teacher, photos, 3)
    for name, value in teacher.state_dict().items():
        if name.endswith(".weight") and value.dim() == 4:
            assert torch.equal(value, before[name]) is name.startswith("head."), name
    image = torch.from_numpy(photos[0].image().copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        features = teacher.features(teacher.stem(image))
    for feature in features if isinstance(features, tuple) else (features[:, :320],):
        assert 0.1 < feature.std() < 10
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
