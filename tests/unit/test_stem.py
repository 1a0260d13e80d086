"""The teacher's first layers inside the analysis: the same feature, and nothing of them is ever trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ptp_model import checkpoint, teachers
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.fresh_start import silence_residual_prediction, wake_hyper_latent
from ptp_model.training.loop import LoopConfig
from ptp_model.training.stage1 import Stage1Config, train_stage1
from ptp_model.transforms.principal_components import principal_components, start_from_principal_components


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


def test_a_fresh_start_is_the_best_nested_linear_transform() -> None:
    """On a signal of few directions nothing is lost; on noise, no more than the components that are left out hold."""
    codec = fresh().eval()
    spec = codec.spec
    torch.manual_seed(4)
    few = torch.randn(8, 10, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    signal = torch.einsum("fc,bchw->bfhw", torch.randn(spec.F, 10) / 10**0.5, few)
    start_from_principal_components(codec.g_a, codec.g_s, signal)
    with torch.no_grad():
        y = codec.g_a(signal)
        error = (codec.g_s(y) - signal).square().mean() / signal.square().mean()
    energy = y.square().mean((0, 2, 3))
    assert error < 0.02, "a little curvature and nearly closed gates are all that is left"
    assert energy[:10].min() > 10 * energy[10:].max(), "the strongest come first"


def test_components_are_orthonormal_and_ordered() -> None:
    torch.manual_seed(5)
    signal = torch.randn(4, 3, 16, 16) * torch.tensor([3.0, 1.0, 0.1])[:, None, None]
    components = principal_components(signal, 5)
    torch.testing.assert_close(components @ components.T, torch.eye(5), rtol=0, atol=1e-5)
    blocks = torch.nn.functional.pixel_unshuffle(signal, 2).transpose(0, 1).flatten(1)
    energy = (components @ blocks).square().mean(1)
    assert (energy.diff() <= 0).all()


def test_a_fresh_hyper_latent_is_awake(cat_photo: Path) -> None:
    codec = fresh().eval()
    crops = PhotoCrops((cat_photo,), 128, 1)
    wake_hyper_latent(codec, crops)
    image = torch.cat([crops.batch(-1 - i & 0xFFFFFF, 4) for i in range(8)])
    with torch.no_grad():
        z = codec.analysis(image)[1]
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(codec.spec.Z), rtol=0.02, atol=0)
    assert z.mean((0, 2, 3)).abs().max() < 0.05


def test_a_fresh_residual_prediction_is_silent() -> None:
    codec = fresh().eval()
    y, mu_hyper = torch.randn(2, 1, codec.spec.M, 8, 8)
    with torch.no_grad():
        assert not torch.equal(codec.lrcp(y, mu_hyper), y)
    silence_residual_prediction(codec)
    torch.testing.assert_close(codec.lrcp(y, mu_hyper), y, rtol=0, atol=0)
