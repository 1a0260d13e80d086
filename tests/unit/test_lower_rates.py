"""Rates added below those of a trained codec, and gains spread over another number of rates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptp_model.codec import FeatureCodec
from ptp_model.errors import SpecError
from ptp_model.gains import respread
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset
from ptp_model.teachers import build
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.loop import LoopConfig, Watch
from ptp_model.training.losses import rate_weights
from ptp_model.training.lower_rates import LowerRatesConfig, lower_span, train_lower_rates, with_lower_rates


def test_the_same_rates_keep_their_gains() -> None:
    octaves = torch.randn(5, 7)

    assert torch.allclose(respread(octaves, 10.0, 5, 10.0), octaves, atol=1e-5)


def test_between_two_rates_the_gain_is_between_theirs_and_below_it_follows_the_slope() -> None:
    octaves = torch.tensor([[-2.0, -3.0], [-1.0, -1.0], [0.0, 0.5]])

    wider = respread(octaves, 100.0, 3, 1000.0)
    assert torch.allclose(wider[2], octaves[2])
    assert torch.allclose(wider[1], octaves[0] + 0.5 * (octaves[1] - octaves[0])), "a half of the way from 100 to 10"
    assert torch.allclose(wider[0], octaves[0] - 1.5), "a decade lower, by the mean slope of both channels"


def test_lower_rates_are_as_far_apart_as_the_others() -> None:
    before, after = rate_weights(4, 8.0), rate_weights(6, lower_span(8.0, 4, 2))

    assert torch.allclose(after[2:], before)
    assert torch.allclose(after[1:] / after[:-1], torch.full((5,), 2.0))


def test_the_other_rates_are_what_they_were() -> None:
    torch.manual_seed(0)
    codec = FeatureCodec(preset("tiny", rates=3)).eval()
    lower = with_lower_rates(codec, 8.0, 2)
    image = torch.rand(1, 3, 64, 64)

    assert (lower.spec.rates, lower.spec.usual_rate) == (5, codec.spec.usual_rate + 2)
    for rate in range(3):
        ours, theirs = codec.latents(image, gain=codec.gain(rate)), lower.latents(image, gain=lower.gain(rate + 2))
        assert torch.equal(ours.symbols, theirs.symbols)
        assert torch.equal(ours.y_int, theirs.y_int)
    assert lower.gains is not None
    assert (lower.gains.octaves[0] < lower.gains.octaves[1]).all()


@pytest.fixture
def crops(tmp_path: Path) -> PhotoCrops:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(folder / "mine.png")
    return PhotoCrops([folder], 64, seed=1)


def test_only_the_lower_gains_are_trained_and_for_the_better(crops: PhotoCrops, tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = FeatureCodec(preset("tiny", rates=2))
    teacher = build("efficientnet-lite0", "seg")
    lower, prompts = with_lower_rates(codec, 4.0, 1), TaskPrompts(codec.spec)
    before = {name: value.clone() for name, value in lower.state_dict().items()}
    still = {name: value.clone() for name, value in prompts.state_dict().items()}
    losses: list[float] = []
    loop = LoopConfig(24, 0.05, warmup_steps=1, ema=0.5, log_every=4, save_every=100)
    config = LowerRatesConfig(below=1, alpha=1.0, batch=2)
    watch = Watch(lambda line: losses.append(line["loss"]))
    train_lower_rates(lower, [prompts], teacher, crops, 16.0, config, loop, tmp_path / "run", watch)

    for name, value in lower.state_dict().items():
        if name != "gains.octaves":
            assert torch.equal(value, before[name]), name
    after = lower.state_dict()["gains.octaves"]
    assert torch.equal(after[1:], before["gains.octaves"][1:]), "the rates that were there"
    assert not torch.equal(after[0], before["gains.octaves"][0])
    assert all(torch.equal(value, still[name]) for name, value in prompts.state_dict().items())
    assert losses[-1] < losses[0]


def test_a_default_rate_that_does_not_exist_is_refused() -> None:
    spec = preset("tiny", rates=3)

    assert spec.usual_rate == 1
    assert dataclasses.replace(spec, default_rate=2).usual_rate == 2
    with pytest.raises(SpecError, match="default_rate is 3; expected 0 to 2, or none"):
        dataclasses.replace(spec, default_rate=3)
