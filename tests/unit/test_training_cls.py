"""Stage 2 of ``cls``: its crops, its padding, and prompts that learn the teacher's own answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptp_model.codec import FeatureCodec
from ptp_model.errors import ModelError
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset
from ptp_model.teachers import build
from ptp_model.training.data import Pixels
from ptp_model.training.loop import LoopConfig, Watch
from ptp_model.training.resized_crops import ResizedCrops
from ptp_model.training.stage2 import Batch, Stage2Config, padded, train_stage2


@pytest.fixture
def photo(cat_photo: Path) -> Pixels:
    with Image.open(cat_photo) as image:
        return np.asarray(image.convert("RGB"))


def test_crops_depend_on_seed_and_step_alone(photo: Pixels) -> None:
    crops = ResizedCrops([photo, photo[::-1]], 224, seed=1)
    first = crops(7, 2)
    assert first.image.shape == (2, 3, 224, 224)
    assert first.mask is None
    assert 0 <= first.image.min() < first.image.max() <= 1
    assert torch.equal(first.image, ResizedCrops([photo, photo[::-1]], 224, seed=1)(7, 2).image)
    assert not torch.equal(first.image, crops(8, 2).image)
    assert not torch.equal(first.image, ResizedCrops([photo, photo[::-1]], 224, seed=2)(7, 2).image)


def test_crops_cover_a_quarter_to_all_of_the_shorter_side() -> None:
    """On a ramp, a crop's slope says how large it was."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (160, 200, 3)).copy()
    sides = []
    for step in range(200):
        row = ResizedCrops([ramp], 32, seed=0)(step, 1).image[0, 0, 16] * 255
        sides.append(abs(float(row[24] - row[8])) * 2)
    assert 38 <= min(sides) < 55
    assert 145 < max(sides) <= 162


def test_padding_repeats_the_border_behind() -> None:
    image = torch.rand(2, 3, 224, 60)
    whole = padded(image)
    assert whole.shape == (2, 3, 256, 64)
    assert torch.equal(whole[:, :, :224, :60], image)
    assert torch.equal(whole[:, :, 255, :60], image[:, :, 223])
    assert torch.equal(whole[:, :, 7, 63], image[:, :, 7, 59])
    square = torch.rand(1, 3, 128, 64)
    assert padded(square) is square


@pytest.mark.parametrize(("rates", "hyper_prompts"), [(1, True), (2, True), (1, False)])
def test_prompts_learn_and_nothing_else_does(rates: int, hyper_prompts: bool, photo: Pixels, tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec, teacher = FeatureCodec(preset("tiny", rates=rates)), build("efficientnet-lite0", "cls")
    prompts = TaskPrompts(codec.spec)
    before = [value.clone() for module in (codec, teacher) for value in module.state_dict().values()]
    start = {name: value.clone() for name, value in prompts.state_dict().items()}
    lines: list[dict[str, float]] = []
    loop = LoopConfig(3, 1e-3, warmup_steps=1, log_every=1, save_every=100)
    batches = ResizedCrops([photo], 96, seed=0)
    config = Stage2Config(batch=2, hyper_prompts=hyper_prompts)
    train_stage2(codec, prompts, teacher, batches, config, loop, tmp_path, Watch(lambda line: lines.append(dict(line))))
    after = [value for module in (codec, teacher) for value in module.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for part in ("p_ga", "p_ha", "p_hmu", "p_hsigma", "p_gs"):
        moved = any(not torch.equal(v, start[n]) for n, v in prompts.state_dict().items() if n.startswith(part))
        assert moved == (hyper_prompts or part in ("p_ga", "p_gs")), part
    assert {"bpp", "feature_mse", "kl", "agreement"} <= set(lines[-1])
    line = lines[0]
    if rates == 1:  # of several, each image's terms are weighed by its rate
        assert line["loss"] == pytest.approx(config.lam * line["bpp"] + line["feature_mse"] + line["kl"], rel=1e-4)


def test_emphasis_is_the_exponent_of_a_rates_weight(photo: Pixels, tmp_path: Path) -> None:
    def first_losses(emphasis: float) -> list[float]:
        """Of the lowest and of the highest rate, a run each: a batch of one takes the rates in turn."""
        torch.manual_seed(0)
        codec, teacher = FeatureCodec(preset("tiny", rates=2)), build("efficientnet-lite0", "cls")
        losses: list[float] = []
        config = Stage2Config(batch=1, span=16.0, emphasis=emphasis)
        loop = LoopConfig(2, learning_rate=0.0, muon_rate=0.0, log_every=1, save_every=100)
        watch = Watch(lambda line: losses.append(line["loss"]))
        crops = ResizedCrops([photo], 96, seed=0)
        train_stage2(codec, TaskPrompts(codec.spec), teacher, crops, config, loop, tmp_path / str(emphasis), watch)
        return losses

    even, root, full = first_losses(0.0), first_losses(0.5), first_losses(1.0)
    assert [a / b for a, b in zip(root, even, strict=True)] == pytest.approx([1 / 4, 1], rel=1e-3)
    assert [a / b for a, b in zip(full, even, strict=True)] == pytest.approx([1 / 16, 1], rel=1e-3)


def test_segmentation_needs_masks(tmp_path: Path) -> None:
    codec, teacher = FeatureCodec(preset("tiny")), build("efficientnet-lite0", "seg")
    with pytest.raises(ModelError, match="mask"):
        train_stage2(
            codec,
            TaskPrompts(codec.spec),
            teacher,
            lambda _, size: Batch(torch.rand(size, 3, 64, 64)),
            Stage2Config(batch=1),
            LoopConfig(1),
            tmp_path,
        )
