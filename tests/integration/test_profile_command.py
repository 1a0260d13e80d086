"""``ptp profile``: what it writes, what a stored profile gives again, and comparisons."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ptp_runtime.cli.profile_cli import profile
from ptp_runtime.errors import UsageError

QUICK = ["--rounds", "2", "--windows", "2", "--seconds", "0.5", "--warmup", "1", "--threads", "1"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(profile, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture(scope="module")
def measured(
    demo_bundle: Path, cat_photo: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path, Result]:
    """A quick profile of the demo with everything that can be written."""
    folder = tmp_path_factory.mktemp("profile")
    outputs = ["--json", folder / "a.json", "--trace", folder / "a.trace.json", "--html", folder / "a.html"]
    result = run(demo_bundle, cat_photo, *QUICK, "--no-cold-start", "--layers", *outputs)
    assert result.exit_code == 0, result.output
    return json.loads((folder / "a.json").read_text(encoding="utf-8")), folder, result


def test_every_stage_has_its_percentiles(measured: tuple[dict[str, Any], Path, Result]) -> None:
    document, _, result = measured
    names = {row["name"] for row in document["stages"]}
    steps = {f"{side}/context {step}" for side in ("encode", "decode") for step in range(8)}
    once = {"encode/preprocess", "encode/analysis", "encode/hyper", "encode/coder", "decode/synthesis", "decode/head"}
    assert steps | once | {"decode/postprocess", "decode/copies"} <= names
    for row in document["stages"]:
        assert 0 <= row["least"] <= row["p50"] <= row["p90"] <= row["p99"] <= row["p99.9"] <= row["most"], row["name"]
        assert row["runs"] == document["runs"]
    for total in document["totals"]:
        of_stages = sum(row["mean"] for row in document["stages"] if row["side"] == total["name"])
        assert of_stages == pytest.approx(total["mean"], rel=0.02), "the stages are all of the run"
    assert document["settings"]["threads"] == 1
    assert "analysis" in result.output
    assert "the slowest" in result.output
    assert document["layers"], "ONNX Runtime tells how long layers take"


def test_the_trace_is_one_that_perfetto_reads(measured: tuple[dict[str, Any], Path, Result]) -> None:
    _, folder, _ = measured
    events = json.loads((folder / "a.trace.json").read_text(encoding="utf-8"))["traceEvents"]
    complete = [event for event in events if event["ph"] == "X"]
    assert len(complete) > 20
    for event in complete:
        assert event["dur"] >= 0
        assert event["ts"] >= 0
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
    assert {event["ph"] for event in events} <= {"X", "M", "C", "i"}


def test_the_page_needs_nothing_else(measured: tuple[dict[str, Any], Path, Result]) -> None:
    _, folder, _ = measured
    page = (folder / "a.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 5
    assert not re.search(r"<script[^>]+src=|<link|@import|url\(|<img|src=\"http", page)
    assert "Why is the p99 of decode" in page


def test_a_stored_profile_gives_the_same_page_and_compares_with_itself(
    measured: tuple[dict[str, Any], Path, Result], tmp_path: Path
) -> None:
    _, folder, _ = measured
    result = run(folder / "a.json", "--html", tmp_path / "again.html", "--compare", folder / "a.json")
    assert result.exit_code == 0, result.output
    assert "compared with" in result.output
    assert "B cannot be told from A (1.000×" in result.output
    again, first = tmp_path / "again.html", folder / "a.html"
    assert set(re.findall("<h2>(.*?)</h2>", first.read_text())) <= set(re.findall("<h2>(.*?)</h2>", again.read_text()))


def test_another_machine_is_not_compared_unasked(measured: tuple[dict[str, Any], Path, Result], tmp_path: Path) -> None:
    document, folder, _ = measured
    other = json.loads(json.dumps(document))
    other["machine"]["processor"] = "another one"
    (tmp_path / "b.json").write_text(json.dumps(other), encoding="utf-8")
    result = run(tmp_path / "b.json", "--compare", folder / "a.json")
    assert isinstance(result.exception, UsageError)
    assert "another one" in str(result.exception)
    asked = run(tmp_path / "b.json", "--compare", folder / "a.json", "--across")
    assert asked.exit_code == 0, asked.output
    assert "another one" in asked.output


def test_what_is_no_profile_is_refused(tmp_path: Path, demo_bundle: Path, cat_photo: Path) -> None:
    (tmp_path / "x.json").write_text('{"stages": []}', encoding="utf-8")
    assert isinstance(run(tmp_path / "x.json").exception, UsageError)
    assert isinstance(run(demo_bundle, "--torch-compile").exception, UsageError)
    assert isinstance(run(tmp_path / "x.json", cat_photo).exception, UsageError)
