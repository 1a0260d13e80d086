"""The task ``cls`` from a checkpoint to an answer: export, verify, infer, inspect, doctor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ptp_export.cli import export_command
from ptp_export.verify.cli import verify_command
from ptp_model import checkpoint
from ptp_runtime import Session
from ptp_runtime.bitstream import read_header
from ptp_runtime.bundle import Bundle
from ptp_runtime.cli import main
from ptp_runtime.manifest import CentreCrop
from ptp_runtime.tasks import Classification


@pytest.fixture(scope="module")
def bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec with random weights in front of the real classifier, in FP16."""
    folder = tmp_path_factory.mktemp("cls") / "bundle"
    arguments = ["--task", "cls", "--checkpoint", str(tiny_checkpoint), "--fp16", "-o", str(folder)]
    result = CliRunner().invoke(export_command, arguments)
    assert result.exit_code == 0, result.output
    return folder


def test_a_checkpoint_carries_a_task_with_an_empty_head() -> None:
    task = checkpoint.load("demo").tasks["cls"]
    assert task.teacher.head_state() == {}
    assert task.teacher.spec.task == "cls"


def test_the_bundle_says_what_the_teacher_says(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert manifest.preprocessing.resize == CentreCrop(256, 224)
    assert manifest.preprocessing.height == manifest.preprocessing.width == (256, 256)
    assert (manifest.task.name, manifest.task.id, len(manifest.task.classes)) == ("cls", 3, 1000)
    assert manifest.graph_of_role("head").inputs[0].shape == (1, 24, 56, 56)


def test_any_photo_is_answered(bundle: Path, cat_photo: Path) -> None:
    with Session.open(bundle, backend="cpu") as session:
        data = session.encode(cat_photo)
        answer = session.decode(data)
    header = read_header(data)
    assert (header.task, header.height, header.width) == (3, 224, 224)
    assert (header.original_height, header.original_width) == (300, 451)
    assert isinstance(answer, Classification)
    assert answer.probabilities.shape == (1000,)
    assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert answer.scores.tolist() == sorted(answer.scores.tolist(), reverse=True)
    assert len(set(answer.names)) == 5


def test_it_computes_what_the_model_computes(
    bundle: Path, tiny_checkpoint: Path, tmp_path: Path, shipped_photos: dict[str, Path]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("cat.jpg", "rocket.jpg"):
        shutil.copy(shipped_photos[name], photos)
    result = CliRunner().invoke(
        verify_command, [str(bundle), "--checkpoint", str(tiny_checkpoint), "--photos", str(photos), "--json"]
    )
    report = json.loads(result.stdout)
    assert result.exit_code == 0, report["failures"]
    assert len(report["chain"]) == 2
    for entry in report["chain"]:
        assert (entry["height"], entry["width"]) == (224, 224)
        assert entry["round_trip_errors"] == 0
    head = next(graph for graph in report["graphs"] if graph["name"] == "head")
    assert head["precision"] == "fp16"


def test_the_commands_speak_of_classes(
    bundle: Path, cat_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    said = run("infer", bundle, cat_photo, "-o", tmp_path / "out")
    answer = json.loads((tmp_path / "out" / "cat.classes.json").read_text())
    assert len(answer["classes"]) == 5
    assert len(answer["probabilities"]) == 1000
    assert all(f"{entry['class']} {entry['score']:.1%}" in said for entry in answer["classes"])
    assert (tmp_path / "out" / "cat.overlay.png").stat().st_size > 1000
    assert "then the centred 224×224 pixels (bicubic)" in run("inspect", bundle)
    assert "224" in run("inspect", tmp_path / "out" / "cat.ptp")
    assert "cls: every file verified" in run("doctor", bundle)
    run("decode", bundle, tmp_path / "out" / "cat.ptp", "-o", tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == answer
