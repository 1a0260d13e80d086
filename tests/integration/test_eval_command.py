"""``ptp eval`` on two small photographs: figures, JSON, page, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from ptp_export.evaluation import subject
from ptp_export.evaluation.cli import eval_command
from ptp_export.options import ExportOptions
from ptp_model import checkpoint
from ptp_model.baselines import student_checkpoint
from ptp_model.baselines.entropic_student import EntropicStudent
from ptp_runtime.bundle import Bundle
from ptp_runtime.session import Session


def _eval(*arguments: str) -> Result:
    return CliRunner().invoke(eval_command, list(arguments))


@pytest.fixture(scope="module")
def small_photos(shipped_photos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shipped photographs of 100 and some pixels."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("cat.jpg", "hopper.jpg"):
        with Image.open(shipped_photos[name]) as image:
            image.convert("RGB").resize((130, 97)).save(folder / f"{Path(name).stem}.png")
    return folder


@pytest.fixture(scope="module")
def run(small_photos: Path, demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Any, str]:
    """What the command prints, and its two files."""
    folder = tmp_path_factory.mktemp("eval")
    files = ["--json", str(folder / "eval.json"), "--html", str(folder / "eval.html")]
    result = _eval(str(demo_bundle), "--data", str(small_photos), "--codecs", "jpeg", "--threads", "1", *files)
    assert result.exit_code == 0, result.output
    return result, json.loads((folder / "eval.json").read_text()), (folder / "eval.html").read_text()


def test_the_points_are_complete(run: tuple[Result, Any, str], demo_bundle: Path) -> None:
    _, document, _ = run
    assert set(document) >= {"points", "teacher_metric", "bd_rate", "photos", "classes", "environment", "notes"}
    ours = [point for point in document["points"] if point["codec"] == "ptp"]
    jpeg = [point for point in document["points"] if point["codec"] == "jpeg"]
    assert document["source"] == demo_bundle.name
    assert str(demo_bundle.parent) not in json.dumps(document), "a path of the machine among the results"
    rates = Bundle.open(demo_bundle).manifest.entropy.rates
    assert [point["rate"] for point in ours] == list(range(rates.count if rates else 1))
    assert len(jpeg) == 10
    for point in document["points"]:
        assert set(point) == {"codec", "rate", "bpp", "metric", "fidelity", "feature_error", "intervals", "figures"}
        assert point["metric"] is None
        assert 0 < point["bpp"] < 24
        assert 0 <= point["fidelity"] <= 1
        assert set(point["intervals"]) == {"bpp", "fidelity", "feature_error"}
        low, high = point["intervals"]["bpp"]
        assert low <= point["bpp"] <= high
        assert set(point["figures"]) == {"teacher_miou", "teacher_photo_miou", "pixel_agreement"}
    assert [point["bpp"] for point in jpeg] == sorted(point["bpp"] for point in jpeg)
    assert jpeg[-1]["feature_error"] < jpeg[0]["feature_error"]
    assert document["teacher_metric"] is None
    assert set(document["bd_rate"]) == {"jpeg"}
    assert set(document["bd_rate"]["jpeg"]["feature_error"]) == {
        "percent",
        "reason",
        "range",
        "at_one_rate",
        "unsteady",
    }
    assert document["environment"]["threads"] == 1
    assert sum(sides["teacher"] for sides in document["classes"].values()) > 0


def test_the_bits_are_those_of_real_bytes(run: tuple[Result, Any, str], demo_bundle: Path, small_photos: Path) -> None:
    _, document, _ = run
    with Session.open(demo_bundle, backend="cpu", threads=1) as session:
        sizes = {path.name: len(session.encode(path, rate=0)) for path in sorted(small_photos.iterdir())}
    assert {photo["name"]: photo["bytes"]["ptp"]["0"] for photo in document["photos"]} == sizes
    ours = document["points"][0]
    assert ours["bpp"] == pytest.approx(np.mean([8 * size / (130 * 97) for size in sizes.values()]), abs=1e-5)


def test_the_table_and_its_warnings(run: tuple[Result, Any, str]) -> None:
    result, _, _ = run
    assert "mIoU to teacher" in result.stdout
    assert re.search(r"^jpeg +88 ", result.stdout, re.MULTILINE)
    assert "our rate against" in result.stdout
    assert "2 photographs are too few" in result.stdout


def test_the_page_needs_nothing_else(run: tuple[Result, Any, str]) -> None:
    _, _, page = run
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 4
    assert page.count("data:image/jpeg;base64,") >= 4
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page


def test_a_rival_can_be_left_out_and_seeds_repeat(demo_bundle: Path, small_photos: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        options = ["--limit", "1", "--codecs", "", "--seed", "5", "--json", str(tmp_path / name)]
        assert _eval(str(demo_bundle), "--data", str(small_photos), *options).exit_code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text())["bd_rate"] == {}


def test_rivals_of_an_earlier_evaluation(
    run: tuple[Result, Any, str], demo_bundle: Path, small_photos: Path, tmp_path: Path
) -> None:
    _, whole, _ = run
    (tmp_path / "earlier.json").write_text(json.dumps(whole))
    arguments = [str(demo_bundle), "--data", str(small_photos), "--threads", "1"]
    files = [
        "--rivals",
        str(tmp_path / "earlier.json"),
        "--json",
        str(tmp_path / "new"),
        "--html",
        str(tmp_path / "page"),
    ]
    result = _eval(*arguments, *files)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "new").read_text())
    for name in ("points", "photos", "codecs", "teacher_sha256"):
        assert document[name] == whole[name], name
    for name, wanted in whole["bd_rate"]["jpeg"].items():
        # From figures of six digits.
        assert document["bd_rate"]["jpeg"][name]["percent"] == pytest.approx(wanted["percent"], abs=0.01), name
    assert document["rivals_environment"] == whole["environment"]
    assert whole["rivals_environment"] is None
    assert "jpeg" in (tmp_path / "page").read_text()

    for change, words in (
        ({"teacher_sha256": "0" * 64}, "the same teacher"),
        ({"bootstrap": {"seed": 9}}, "the same seed"),
        ({"photos": whole["photos"][:1]}, "the same photographs"),
        ({"points": 3}, "holds no rivals"),
    ):
        (tmp_path / "other.json").write_text(json.dumps(whole | change))
        refused = _eval(*arguments, "--rivals", str(tmp_path / "other.json"))
        assert refused.exit_code == 2
        assert words in " ".join(refused.output.split())
    both = _eval(*arguments, "--rivals", str(tmp_path / "earlier.json"), "--codecs", "jpeg")
    assert both.exit_code == 2
    assert "one of them" in both.output


def test_entropic_student_is_a_rival(demo_bundle: Path, small_photos: Path, tmp_path: Path) -> None:
    """Two untrained ones that differ in their rates."""
    teacher = checkpoint.load("demo").tasks["seg"].teacher
    students = []
    for beta in (2.0, 1.0):
        torch.manual_seed(0)
        student = EntropicStudent(teacher.spec.name)
        with torch.no_grad():
            student.encoder[-1].weight.mul_(50 * beta)
        student_checkpoint.save(tmp_path / f"{beta}", student, teacher, beta, {"steps": 0})
        students += ["--entropic-student", str(tmp_path / f"{beta}")]
    files = ["--json", str(tmp_path / "eval.json"), "--html", str(tmp_path / "eval.html")]
    result = _eval(str(demo_bundle), "--data", str(small_photos), "--limit", "1", "--codecs", "", *students, *files)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "eval.json").read_text())
    low, high = (point for point in document["points"] if point["codec"] == "Entropic Student")
    sizes = document["photos"][0]["bytes"]["Entropic Student"]
    assert 0 < low["bpp"] < high["bpp"] == pytest.approx(8 * sizes["1"] / (130 * 97), abs=1e-5)
    assert set(document["bd_rate"]) == {"Entropic Student"}
    assert "0: β 1, 0 steps" in document["codecs"]["Entropic Student"]
    assert "Entropic Student" in result.stdout
    page = (tmp_path / "eval.html").read_text()
    assert "<b>Entropic Student</b> at rate" in page
    assert page.count(">Entropic Student</text>") == page.count("<svg")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 7, "no checkpoint at nowhere"),
        (["demo", "--codecs", "bpg"], 2, "no image codec 'bpg'"),
        (["demo", "--json", "nowhere/eval.json"], 2, "expected a folder that exists"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(arguments: list[str], code: int, words: str) -> None:
    result = _eval(*arguments)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_task_that_the_checkpoint_lacks_is_named(tiny_checkpoint: Path) -> None:
    result = _eval(str(tiny_checkpoint), "--task", "seg")
    assert result.exit_code == 5, result.output
    assert "has no task 'seg'" in result.output


def test_a_checkpoint_is_measured_with_its_float_path(
    demo_bundle: Path, small_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is exported for the occasion; here, a bundle that exists already takes the place of the export."""
    asked = []

    def export(options: ExportOptions, watcher: object) -> None:
        asked.append((options.entropy_path, options.precision.converts, options.task))
        shutil.copytree(demo_bundle, options.output)

    monkeypatch.setattr(subject, "export", export)
    result = _eval("demo", "--task", "seg", "--data", str(small_photos), "--limit", "1", "--codecs", "", "--rates", "0")
    assert result.exit_code == 0, result.output
    assert asked == [("float", False, "seg")]


def test_bundles_are_checked_too(demo_bundle: Path, tiny_checkpoint: Path, small_photos: Path, tmp_path: Path) -> None:
    for options, words in (
        (["--rates", "300"], "there is no rate 300"),
        (["--rates", "low"], "whole numbers"),
        (["--task", "cls"], "does not serve the task"),
        (["--task", "seg", "--checkpoint", str(tiny_checkpoint)], "no task 'seg'"),
        (["--data", str(tmp_path)], "no photographs"),
    ):
        result = _eval(str(demo_bundle), "--codecs", "jpeg", *options)
        assert result.exit_code in (2, 5), result.output
        assert words in result.output
