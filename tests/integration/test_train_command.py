"""``ptp train``: both stages by command, a checkpoint that loads, and sentences for what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open

from ptp_export.training_cli import train_command
from ptp_model import checkpoint
from ptp_model.baselines import student_checkpoint
from ptp_model.teachers import build

QUICK = ["--steps", "2", "--crop", "64", "--batch", "1", "--threads", "1"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(train_command, [str(a) for a in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A picture of ours: the shipped ones are for calibration and parity, and training refuses them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC).save(folder / "mine.png")
    return folder


@pytest.mark.parametrize("command", [["stage1"], ["stage2", "--task", "cls"], ["entropic-student"]])
def test_reserved_photographs_are_refused(command: list[str], tmp_path: Path, shipped_photos: dict[str, Path]) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(shipped_photos["cat.jpg"].read_bytes())
    result = run(*command, "--photos", folder, "--steps", 1, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "holiday.jpg" in result.output
    assert "this one is for parity" in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_there_gets_a_sentence(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run("stage1", "--photos", photos, *QUICK, "--device", "cuda", "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "expected a GPU" in result.output


def test_a_full_disk_gets_a_sentence(photos: Path, tmp_path: Path) -> None:
    """The state's half-written file is a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no device that is always full")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors.part").symlink_to("/dev/full")
    result = run("stage1", "--photos", photos, *QUICK, "-o", tmp_path / "run")
    assert result.exit_code == 7
    assert "No space left on device" in result.output
    assert "no state was saved yet" in " ".join(result.output.split())


def test_both_stages(photos: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    first = run("stage1", "--photos", photos, *QUICK, "-o", tmp_path / "one")
    assert first.exit_code == 0, first.output
    head = tmp_path / "head.safetensors"
    save_file(build("efficientnet-lite0", "seg").head_state(), head)
    source = tmp_path / "one" / "checkpoint"
    arguments = ["--task", "seg", "--checkpoint", source, "--head", head, "--photos", photos]
    second = run("stage2", *arguments, *QUICK, "-o", tmp_path / "two")
    assert second.exit_code == 0, second.output
    loaded = checkpoint.load(tmp_path / "two" / "checkpoint")
    assert set(loaded.tasks) == {"seg"}
    assert loaded.provenance["stage1"][0]["steps"] == loaded.provenance["stage2.seg"]["steps"] == 2
    before = (source / "codec.safetensors").read_bytes()
    assert (tmp_path / "two" / "checkpoint" / "codec.safetensors").read_bytes() == before, "stage 2 changed the codec"


def test_rates_are_added_and_spread(photos: Path, tmp_path: Path) -> None:
    common = ["--photos", photos, *QUICK]
    first = run("stage1", *common, "--rates", 2, "--span", 4, "-o", tmp_path / "two")
    assert first.exit_code == 0, first.output

    lower = run(
        "rates", "--checkpoint", tmp_path / "two" / "checkpoint", "--below", 2, *common, "-o", tmp_path / "four"
    )
    assert lower.exit_code == 0, lower.output
    before, after = (checkpoint.load(tmp_path / name / "checkpoint") for name in ("two", "four"))
    assert (after.spec.rates, after.spec.usual_rate) == (4, 3)
    assert after.provenance["stage1"][-1]["span"] == pytest.approx(64)
    assert after.codec.gains is not None
    assert before.codec.gains is not None
    assert torch.equal(after.codec.gains.octaves[2:], before.codec.gains.octaves)

    again = run(
        "stage1", *common, "--rates", 3, "--span", 8, "--start", tmp_path / "four" / "checkpoint", "-o", tmp_path / "on"
    )
    assert again.exit_code == 0, again.output
    assert checkpoint.load(tmp_path / "on" / "checkpoint").spec.rates == 3
    refused = run("stage1", *common, "--start", tmp_path / "four" / "checkpoint", "-o", tmp_path / "one")
    assert refused.exit_code == 7
    assert "--rates as it has or both above 1" in " ".join(refused.output.split())
    assert run("rates", "--checkpoint", tmp_path / "nowhere", *common, "-o", tmp_path / "none").exit_code == 7

    checkpoint.save(tmp_path / "bare", before.codec, {}, {})
    for command in (
        ["rates", "--checkpoint", tmp_path / "bare"],
        ["stage1", "--rates", 3, "--start", tmp_path / "bare"],
    ):
        unknown = run(*command, *common, "-o", tmp_path / "none")
        assert unknown.exit_code == 7
        assert "how far apart the rates of" in " ".join(unknown.output.split())
    assert not (tmp_path / "none").exists()


def test_a_checkpoint_without_tasks_takes_the_teacher_that_is_given(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    honest = build

    def noted(name: str, task: str, weights: object = None) -> object:
        asked.append(weights)
        return honest(name, task, None)

    first = run("stage1", "--photos", photos, *QUICK, "--rates", 2, "-o", tmp_path / "two")
    assert first.exit_code == 0, first.output
    monkeypatch.setattr("ptp_export.training_cli.teachers.build", noted)
    (tmp_path / "weights").write_bytes(b"")
    arguments = ["--checkpoint", tmp_path / "two" / "checkpoint", "--teacher-weights", tmp_path / "weights"]
    result = run("rates", *arguments, "--photos", photos, *QUICK, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert asked == [tmp_path / "weights"]


def test_prompts_go_on_from_a_checkpoint(photos: Path, tmp_path: Path) -> None:
    arguments = ["stage2", "--task", "cls", "--photos", photos, "--steps", 1, "--batch", 1, "--threads", 1]
    result = run(*arguments, "--start", "demo", "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    before, after = (
        checkpoint.load(source).tasks["cls"].prompts for source in ("demo", tmp_path / "run" / "checkpoint")
    )
    moved = after.p_gs[-1].weight - before.p_gs[-1].weight
    assert 0 < float(moved.abs().max()) < 0.01, "one small step away"

    first = run("stage1", "--photos", photos, *QUICK, "-o", tmp_path / "tiny")
    assert first.exit_code == 0, first.output
    refused = run(*arguments, "--start", tmp_path / "tiny" / "checkpoint", "-o", tmp_path / "other")
    assert refused.exit_code == 7
    assert "has no prompts to start from" in " ".join(refused.output.split())


def test_the_baseline(photos: Path, tmp_path: Path) -> None:
    result = run("entropic-student", "--photos", photos, *QUICK, "--beta", 2, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    loaded = student_checkpoint.load(tmp_path / "run" / "checkpoint")
    assert loaded.beta == 2
    assert loaded.provenance["steps"] == 2
    assert loaded.provenance["photographs"] == 1

    start = ["--beta", 1, "--start", tmp_path / "run" / "checkpoint"]
    result = run("entropic-student", "--photos", photos, *QUICK, *start, "-o", tmp_path / "lower")
    assert result.exit_code == 0, result.output
    lower = student_checkpoint.load(tmp_path / "lower" / "checkpoint")
    assert lower.beta == 1
    assert lower.provenance["start"]["weights"] == loaded.sha256
    moved = lower.student.encoder[0].weight - loaded.student.encoder[0].weight
    assert 0 < float(moved.abs().max()) < 0.05, "it goes on from there"


def test_a_classifier_needs_no_head(photos: Path, tmp_path: Path) -> None:
    """Its package is complete, so the demo's checkpoint without any cls is enough."""
    arguments = ["stage2", "--task", "cls", "--photos", photos, "--steps", 1, "--batch", 1, "--threads", 1]
    refused = run(*arguments, "--crop", 192, "-o", tmp_path / "other")
    assert refused.exit_code == 2
    assert "224" in refused.output
    result = run(*arguments, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    loaded = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert {"seg", "cls"} <= set(loaded.tasks), "the other tasks stay"
    assert loaded.provenance["stage2.cls"]["crop"] == 224
    assert loaded.tasks["cls"].teacher.spec.classes[281] == "tabby"
    path = tmp_path / "run" / "checkpoint" / "task.cls.safetensors"
    with safe_open(path, framework="pt") as file:
        assert all(name.startswith("prompts.") for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stage1"], "no photographs"),
        (["stage1", "--photos", "."], "no photograph"),
        (["stage1", "--crop", "100"], "positive multiple of 64"),
        (["entropic-student"], "no photographs"),
        (["stage2", "--task", "seg", "--checkpoint", "nowhere"], "no checkpoint at nowhere"),
    ],
)
def test_mistakes_get_a_sentence(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, "-o", tmp_path / "run")
    assert result.exit_code not in (0, 1)
    assert words in result.output
    assert "Traceback" not in result.output
