"""The teacher's first layers inside the analysis: the same feature, and nothing of them is ever trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ptp_model import checkpoint, teachers
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.loop import LoopConfig
from ptp_model.training.stage1 import Stage1Config, train_stage1


@pytest.fixture(scope="module")
def teacher() -> teachers.Teacher:
    return teachers.build("efficientnet-lite0", "cls")


def fresh() -> FeatureCodec:
    torch.manual_seed(2)
    return FeatureCodec(preset("tiny", transform="stem"))


@pytest.mark.parametrize("size", [(64, 64), (128, 192)])
def test_it_computes_the_teachers_feature(teacher: teachers.Teacher, size: tuple[int, int]) -> None:
    codec = fresh()
    assert codec.stem is not None
    codec.stem.adopt(teacher.stem_layers())
    codec.train()
    image = torch.rand(1, 3, *size)
    h = codec.stem((image - codec.image_mean) / codec.image_std)
    torch.testing.assert_close(h, teacher.stem(image), rtol=1e-5, atol=1e-4)


def test_a_resnet_has_a_stem_too() -> None:
    spec = preset("tiny", transform="stem", teacher="resnet50")
    torch.manual_seed(7)
    teacher = teachers.build("resnet50", "seg")
    codec = FeatureCodec(spec).eval()
    assert codec.stem is not None
    codec.stem.adopt(teacher.stem_layers())
    image = torch.rand(1, 3, 64, 128)
    h = codec.stem((image - codec.image_mean) / codec.image_std)
    torch.testing.assert_close(h, teacher.stem(image), rtol=1e-5, atol=1e-4)


def test_training_adopts_it_and_leaves_it_alone(teacher: teachers.Teacher, cat_photo: Path, tmp_path: Path) -> None:
    codec = fresh()
    assert codec.stem is not None
    first_layer = codec.g_a[0].weight.detach().clone()
    train_stage1(
        codec,
        teacher,
        PhotoCrops((cat_photo,), 64, 1),
        Stage1Config(batch=2, image_crops=1),
        LoopConfig(2, save_every=2),
        tmp_path,
    )
    theirs = teacher.stem_layers().state_dict()
    ours = codec.stem.layers.state_dict()
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name
    assert not torch.equal(codec.g_a[0].weight.detach(), first_layer), "nothing was trained"


def test_it_is_stored_unrounded(teacher: teachers.Teacher, tmp_path: Path) -> None:
    codec = fresh()
    assert codec.stem is not None
    codec.stem.adopt(teacher.stem_layers())
    checkpoint.save(tmp_path, codec, {}, {}, half=True)
    loaded = checkpoint.load(tmp_path).codec
    assert loaded.stem is not None
    for name, value in codec.stem.state_dict().items():
        assert torch.equal(loaded.stem.state_dict()[name], value), name
