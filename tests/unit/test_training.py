"""The loop resumes exactly, the frozen stays frozen, and a short run lowers the loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ptp_model.codec import FeatureCodec
from ptp_model.errors import CheckpointError
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset
from ptp_model.teachers import build
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.loop import LoopConfig, Shard, Watch, course, train
from ptp_model.training.stage1 import Stage1Config, spread_rates, train_stage1
from ptp_model.training.stage2 import MaskedCrops, Stage2Config, train_stage2


def fit(folder: Path, steps: int, stop_after: int | None = None, shards: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    x = torch.randn(16, 4)

    def step(shard: Shard) -> tuple[Tensor, dict[str, Tensor]]:
        if stop_after is not None and shard.step >= stop_after:
            raise KeyboardInterrupt
        noise = torch.empty_like(x).normal_(generator=shard.generator)
        loss = (model(x + 0.1 * noise) - x.sum(1, keepdim=True)).square().mean()
        return loss, {"mse": loss}

    config = LoopConfig(steps, 0.01, warmup_steps=2, shards=shards, save_every=5, log_every=5)
    train(model, step, config, folder)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("shards", [1, 2])
def test_resumed_run_equals_an_uninterrupted_one(shards: int, tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", 20, shards=shards)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", 20, stop_after=12, shards=shards)
    resumed = fit(tmp_path / "cut", 20, shards=shards)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    lines = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 20
    assert {"loss", "mse", "seconds_per_step", "eta_minutes"} <= set(lines[-1])


def test_shards_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    results = []
    for shards in (1, 4):
        torch.manual_seed(3)
        model = nn.Linear(4, 1)

        def step(shard: Shard, model: nn.Linear = model) -> tuple[Tensor, dict[str, Tensor]]:
            size = shard.share(8)
            part = slice(shard.index * size, (shard.index + 1) * size)
            return (model(x[part]) - y[part]).square().mean(), {}

        train(model, step, LoopConfig(5, 0.1, warmup_steps=1, ema=0.0, shards=shards), tmp_path / str(shards))
        results.append(model.weight.detach())
    assert torch.allclose(*results, atol=1e-6)


@pytest.mark.parametrize("rates", [2, 3, 4, 6])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 6, 8])
def test_every_rate_gets_its_turn(batch: int, rates: int) -> None:
    drawn = torch.stack([spread_rates(n, batch, rates) for n in range(rates * rates)])
    assert len(set(torch.bincount(drawn.flatten(), minlength=rates).tolist())) == 1
    for place in drawn.T:
        assert len(set(place.tolist())) == rates, "a place in the batch decides the rate"


def test_one_rate_is_always_the_same() -> None:
    assert spread_rates(5, 3, 1).tolist() == [0, 0, 0]


def test_a_run_of_other_settings_is_not_continued(tmp_path: Path) -> None:
    fit(tmp_path, 5)
    with pytest.raises(CheckpointError, match="continue it with its own settings"):
        fit(tmp_path, 10)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="step 0"):
        train(model, lambda _: (model.weight.sum() * float("nan"), {}), LoopConfig(1), tmp_path)


def test_learning_rate_warms_up_and_decays() -> None:
    config = LoopConfig(100, 1.0, warmup_steps=10)
    assert course(config, 0) == pytest.approx(0.1)
    assert course(config, 10) > 0.9
    assert course(config, 100) == pytest.approx(0.02)


@pytest.fixture
def photo_folder(tmp_path: Path, shipped_photos: dict[str, Path]) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("cat.jpg",):
        (folder / name).write_bytes(shipped_photos[name].read_bytes())
    return folder


def test_crops_depend_on_seed_and_step_alone(photo_folder: Path) -> None:
    crops = PhotoCrops([photo_folder], 64, seed=1)
    first = crops.batch(7, 2)
    assert first.shape == (2, 3, 64, 64)
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, PhotoCrops([photo_folder], 64, seed=1).batch(7, 2))
    assert not torch.equal(first, crops.batch(8, 2))
    with pytest.raises(FileNotFoundError, match="no photograph"):
        PhotoCrops([photo_folder], 64, seed=1, exclude=frozenset({"cat"}))


@pytest.mark.parametrize("rates", [1, 3])
def test_stage1_lowers_the_loss(rates: int, photo_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = FeatureCodec(preset("tiny", rates=rates))
    teacher = build("efficientnet-lite0", "seg")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    lines: list[dict[str, float]] = []
    loop = LoopConfig(32, 1e-3, warmup_steps=2, log_every=4, save_every=100)
    config = Stage1Config(lam=0.01, alpha=1.0, beta=1.0, batch=2)
    crops = PhotoCrops([photo_folder], 64, seed=0)
    train_stage1(codec, teacher, crops, config, loop, tmp_path / "run", Watch(lambda line: lines.append(dict(line))))
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert codec.feature_std.std() > 0, "the feature's statistics were measured"
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), f"the teacher changed: {name}"


@pytest.mark.parametrize("task", ["seg", "det"])
def test_stage2_trains_prompts_and_nothing_else(task: str, shipped_photos: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec, teacher = FeatureCodec(preset("tiny")), build("efficientnet-lite0", task)
    prompts = TaskPrompts(codec.spec)
    frozen = {
        f"{kind}.{n}": v.clone()
        for kind, m in (("codec", codec), ("teacher", teacher))
        for n, v in m.state_dict().items()
    }
    start = {name: value.clone() for name, value in prompts.state_dict().items()}
    photo = np.asarray(Image.open(shipped_photos["cat.jpg"]).convert("RGB"))
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[:, 100:300] = 8
    batches = MaskedCrops([photo], [lambda: mask], side=64, seed=0)
    loop = LoopConfig(3, 1e-3, warmup_steps=1, log_every=1, save_every=100)
    lines: list[dict[str, float]] = []
    train_stage2(
        codec,
        prompts,
        teacher,
        batches,
        Stage2Config(batch=1),
        loop,
        tmp_path,
        Watch(lambda line: lines.append(dict(line))),
    )
    now = {f"{kind}.{n}": v for kind, m in (("codec", codec), ("teacher", teacher)) for n, v in m.state_dict().items()}
    assert [name for name, value in frozen.items() if not torch.equal(value, now[name])] == []
    for part in ("p_ga", "p_ha", "p_hmu", "p_hsigma", "p_gs"):
        assert any(not torch.equal(v, start[n]) for n, v in prompts.state_dict().items() if n.startswith(part)), part
    assert {"kl", "cross_entropy"} <= set(lines[-1])
