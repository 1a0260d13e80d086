"""What can go wrong in a run and what is left then; batches prepared ahead; precision and devices."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from ptp_model import files
from ptp_model.codec import FeatureCodec
from ptp_model.errors import CheckpointError, NotSavedError
from ptp_model.spec import preset
from ptp_model.teachers import build
from ptp_model.training import compute
from ptp_model.training.compute import Compute, DeviceError
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.loop import LoopConfig, Shard, Watch, train
from ptp_model.training.photo_store import PhotoStore
from ptp_model.training.prefetch import Prefetch
from ptp_model.training.stage1 import Stage1Config, train_stage1


def fit(folder: Path, watch: Watch | None = None, bad_from: int = 99, factor: float = float("nan")) -> nn.Linear:
    """Twelve steps, saved after every fourth; from ``bad_from`` on the loss is multiplied by ``factor``."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)

    def step(shard: Shard) -> tuple[Tensor, dict[str, Tensor]]:
        x = torch.empty(8, 4).normal_(generator=shard.generator)
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return loss * (factor if shard.step >= bad_from else 1.0), {}

    train(model, step, LoopConfig(12, 0.01, warmup_steps=1, save_every=4, log_every=3), folder, watch or Watch())
    return model


def saved_step(folder: Path) -> int:
    with safe_open(folder / "state.safetensors", framework="pt") as file:
        return int(json.loads(file.metadata()["state"])["step"])


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(tmp_path / "whole")

    def fill_up(done: int) -> None:
        if done == 5:
            monkeypatch.setattr(files.os, "fsync", full)

    with pytest.raises(NotSavedError) as caught:
        fit(tmp_path / "run", Watch(tick=fill_up))
    sentence = str(caught.value)
    assert "No space left on device" in sentence
    assert f"the last good state is that of step 4 in {tmp_path / 'run' / 'state.safetensors'}" in sentence
    assert saved_step(tmp_path / "run") == 4
    assert not list((tmp_path / "run").glob("*.part")), "what is half written takes up the room that is missing"

    monkeypatch.undo()
    assert torch.equal(fit(tmp_path / "run").weight, whole.weight), "the same command goes on"


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(NotSavedError, match="no state was saved yet"):
        fit(tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_figures_that_cannot_be_written_stop_the_run(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no device that is always full")
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(NotSavedError, match=r"metrics\.jsonl: .*No space left.*no state was saved yet"):
        fit(tmp_path)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_leaves_and_names_the_last_good_state(factor: float, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError) as caught:
        fit(tmp_path, bad_from=10, factor=factor)
    assert "at step 10" in str(caught.value)
    assert f"the last good state is that of step 8 in {tmp_path / 'state.safetensors'}" in str(caught.value)
    assert saved_step(tmp_path) == 8
    with safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        assert all(torch.isfinite(file.get_tensor(key)).all() for key in file.keys())  # noqa: SIM118


def test_a_gradient_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    """The loss of step 7 is finite, its gradient is not, and the state is saved right after that step."""
    model = nn.Linear(1, 1)

    def step(shard: Shard) -> tuple[Tensor, dict[str, Tensor]]:
        loss = model.weight.square().sum()
        return (loss + (model.bias * 0).sqrt().sum() if shard.step == 7 else loss), {}

    with pytest.raises(FloatingPointError, match=r"at step 7; the last good state is that of step 4"):
        train(model, step, LoopConfig(12, 0.01, save_every=4), tmp_path)
    assert saved_step(tmp_path) == 4


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    fit(tmp_path)
    path = tmp_path / "state.safetensors"
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    assert state["config"].pop("precision") == "float32"
    save_file(tensors, path, metadata={"state": json.dumps(state)})
    fit(tmp_path)
    state["config"]["precision"] = "bfloat16"
    save_file(tensors, path, metadata={"state": json.dumps(state)})
    with pytest.raises(CheckpointError, match="continue it with its own settings"):
        fit(tmp_path)


def test_every_step_ticks(tmp_path: Path) -> None:
    ticks: list[int] = []
    fit(tmp_path, Watch(tick=ticks.append))
    assert ticks == list(range(13))
    fit(tmp_path, Watch(tick=ticks.append))
    assert ticks[13:] == [12], "a finished run has nothing left to do"


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_prepared_ahead_are_the_same(workers: int) -> None:
    names: set[str] = set()

    def source(number: int, size: int) -> list[float]:
        names.add(threading.current_thread().name)
        return [float(v) for v in np.random.default_rng(number).random(size)]

    with Prefetch(source, workers, ahead=4) as ahead:
        order = [0, 1, 2, 3, 9, 10, 4, 11]
        assert [ahead(number, 2) for number in order] == [source(number, 2) for number in order]
        assert ahead(12, 5) == source(12, 5)
    assert any(name.startswith("crops") for name in names) is bool(workers)


def test_what_a_worker_raises_reaches_the_step() -> None:
    def source(number: int, size: int) -> int:
        if number == 2:
            raise ValueError("a broken photograph")
        return number

    with Prefetch(source, 2) as ahead:
        assert ahead(0, 1) == 0
        with pytest.raises(ValueError, match="a broken photograph"):
            ahead(2, 1)


def test_photographs_are_kept_while_they_fit() -> None:
    reads: list[int] = []

    def reader(i: int) -> Any:
        def read() -> Any:
            reads.append(i)
            return np.full((2, 2, 3), i, np.uint8)

        return read

    store = PhotoStore([reader(i) for i in range(3)], budget_bytes=24)
    assert [int(picture[0, 0, 0]) for picture in [*store, *store]] == [0, 1, 2, 0, 1, 2]
    assert reads == [0, 1, 2, 2], "two of three fit"
    assert int(store[-1][0, 0, 0]) == 2
    assert len(store[1:]) == 2
    with pytest.raises(IndexError):
        store[3]


@pytest.fixture
def crops(tmp_path: Path) -> PhotoCrops:
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((120, 120), Image.Resampling.BICUBIC).save(tmp_path / "mine.png")
    return PhotoCrops([tmp_path], 64, seed=1)


def weights_after(crops: PhotoCrops, folder: Path, where: Compute) -> tuple[dict[str, Tensor], dict[str, float]]:
    torch.manual_seed(0)
    codec = FeatureCodec(preset("tiny"))
    teacher = build("efficientnet-lite0", "seg")
    lines: list[dict[str, float]] = []
    watch = Watch(lambda line: lines.append(dict(line)))
    loop = LoopConfig(2, 1e-3, warmup_steps=1, log_every=2)
    train_stage1(codec, teacher, crops, Stage1Config(beta=1.0, batch=2), loop, folder, watch, where)
    return codec.state_dict(), lines[-1]


def test_workers_change_nothing_on_a_cpu(crops: PhotoCrops, tmp_path: Path) -> None:
    alone, _ = weights_after(crops, tmp_path / "a", Compute())
    helped, _ = weights_after(crops, tmp_path / "b", Compute(workers=2))
    assert all(torch.equal(value, helped[name]) for name, value in alone.items())


def test_bfloat16_leaves_weights_entropy_path_and_losses_in_float32(
    crops: PhotoCrops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autocast also works on a CPU: that is where it is tested."""
    from ptp_model import codec as codec_module

    seen: list[tuple[torch.dtype, bool]] = []
    bits = codec_module.gaussian_bits

    def watched(residual: Tensor, index: Tensor) -> Tensor:
        seen.extend((part.dtype, torch.is_autocast_enabled("cpu")) for part in (residual, index))
        return bits(residual, index)

    monkeypatch.setattr(codec_module, "gaussian_bits", watched)
    exact, line = weights_after(crops, tmp_path / "a", Compute())
    coarse, other = weights_after(crops, tmp_path / "b", Compute(precision="bfloat16"))
    assert set(seen) == {(torch.float32, False)}
    assert {value.dtype for name, value in coarse.items() if "weight" in name} == {torch.float32}
    assert any(not torch.equal(value, coarse[name]) for name, value in exact.items()), "nothing ran in bfloat16"
    assert other["bpp"] == pytest.approx(line["bpp"], rel=0.05)
    assert other["feature_mse"] == pytest.approx(line["feature_mse"], rel=0.05)


def test_devices_have_their_usual_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compute.chosen("cpu", "auto", None) == Compute("cpu", "float32", 0)
    assert compute.chosen("cpu", "bfloat16", 2) == Compute("cpu", "bfloat16", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert compute.chosen("cuda", "auto", None) == Compute("cuda", "bfloat16", 4)
    assert compute.chosen("cuda", "float32", 0) == Compute("cuda", "float32", 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old card")
    with pytest.raises(DeviceError, match="got an old card; give --precision float32"):
        compute.chosen("cuda", "auto", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="expected a GPU"):
        compute.chosen("cuda", "auto", None)
