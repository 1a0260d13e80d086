"""``ptp-export`` from its command line: the bundle it leaves, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ptp_export.pipeline
from ptp_calibration.integer_path import ConversionError
from ptp_export.cli import export_command
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.verify.cli import verify_command
from ptp_runtime import Session
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import ExportError
from ptp_runtime.golden import GoldenTest
from ptp_runtime.images import load_image


def _export(*arguments: str) -> Result:
    return CliRunner().invoke(export_command, list(arguments))


def test_the_bundle_says_what_it_is(demo_bundle: Path) -> None:
    manifest = Bundle.open(demo_bundle).manifest
    assert manifest.task.name == "seg"
    assert manifest.task.classes[8] == "cat"
    precisions = {graph.role: graph.precision for graph in manifest.graphs}
    assert precisions == {"analysis": "fp16", "entropy": "integer", "synthesis": "fp16", "head": "fp16"}
    assert [graph.name for graph in manifest.graphs][:2] == ["analysis", "hyper"]
    assert manifest.preprocessing.height == manifest.preprocessing.width == (64, 4096)
    assert manifest.tools["onnx"]


def test_the_entropy_path_is_integers_proved_and_tested(demo_bundle: Path) -> None:
    bundle = Bundle.open(demo_bundle)
    entropy, audit = bundle.manifest.entropy, bundle.manifest.audit["entropy"]
    assert entropy.mode == "integer"
    assert entropy.golden is not None
    assert len(GoldenTest.from_bytes(bundle.read(entropy.golden)).steps) == len(entropy.schedule)
    assert audit["calibration_cost"]["cost"] < 0.003
    assert audit["calibration_cost"]["samples"] == entropy.rates.count * len(shipped_set("calibration"))  # type: ignore[union-attr]
    assert 0.5 < audit["certificate"]["worst"]["share"] < 1
    assert max(audit["clipped"].values(), default=0) < 0.01
    names = [tensor.name for tensor in bundle.manifest.graph("hyper").outputs]
    assert names == ["mu_hyper", *(f"part_{k:02d}" for k in range(len(entropy.schedule)))]


def test_the_audit_names_every_layer_in_fp32(demo_bundle: Path) -> None:
    audit = Bundle.open(demo_bundle).manifest.audit["graphs"]
    for name in ("analysis", "synthesis", "head"):
        precision = audit[name]["precision"]
        in_fp32 = precision["layers_in_fp32"]
        # The analysis begins with the teacher's stem, which stays in FP32 by name; beside it the graphs are alike.
        for share, weight in (
            ("share_of_convolutions", lambda layer: layer["operator"] in ("Conv", "ConvTranspose")),
            ("share_of_arithmetic", lambda layer: layer["multiply_accumulates"]),
        ):
            total = sum(map(weight, in_fp32)) / (1 - precision[share]) if precision[share] < 1 else 1
            stem = sum(weight(layer) for layer in in_fp32 if layer["exclusion"] == "stem")
            assert bool(stem) == (name == "analysis")
            assert precision[share] * total / (total - stem) > 0.9, (name, share)
        assert "range" not in precision["exclusions"], "a tensor of the demo grows towards the end of float16"
        for layer in precision["layers_in_fp32"]:
            assert layer["exclusion"] in precision["exclusions"]
    assert "precision" not in audit["hyper"]


def test_calibration_and_parity_photos_stay_apart(demo_bundle: Path) -> None:
    calibration = Bundle.open(demo_bundle).manifest.audit["calibration"]
    used = {photo["sha256"] for photo in calibration["photos"]}
    assert used == {photo.sha256 for photo in shipped_set("calibration").photos}
    assert not used & {photo.sha256 for photo in shipped_set("parity").photos}


def test_the_bundle_runs(demo_bundle: Path, cat_photo: Path) -> None:
    with Session.open(demo_bundle, "cpu") as session:
        result = session.infer(cat_photo)
    assert result.output.mask.shape == load_image(cat_photo).shape[:2]  # type: ignore[union-attr]
    assert 100 < len(result.data) < 30_000


def test_one_graph_alone_is_reported_and_not_bundled(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    result = _export("--task", "view", "--fp16", "--size", "300x451", "--only", "head", "--json", "-o", str(output))
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    (graph,) = report["graphs"]
    assert (graph["name"], graph["role"], graph["precision"]) == ("head", "head", "fp16")
    assert graph["audit"]["share_of_arithmetic"] > 0.9
    assert report["bundle"] is None
    assert set(report["seconds"]) == {"load checkpoint", "head: ONNX", "run calibration photos", "head: FP16"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--size", "0x5"), 2, "photo size"),
        (("--size", "64x64", "--max-size", "128x128"), 2, "--size"),
        (("--min-size", "640x640", "--max-size", "128x128"), 2, "not ordered"),
        (("--only", "nothing"), 2, "unknown graph"),
        (("--checkpoint", "absent"), 7, "absent"),
        (("--task", "depth"), 2, "depth"),
        (("--target", "openvino"), 2, "openvino"),
    ],
)
def test_impossible_requests_end_in_one_sentence(
    arguments: tuple[str, ...], code: int, words: str, tmp_path: Path
) -> None:
    base = ["-o", str(tmp_path / "bundle")] + ([] if "--task" in arguments else ["--task", "view"])
    result = _export(*base, *arguments)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_taken_path_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    result = _export("--task", "view", "-o", str(tmp_path))
    assert result.exit_code == 2
    assert "exists already" in result.output
    assert (tmp_path / "mine.txt").read_text() == "precious"


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="the full TensorRT is installed here")
def test_a_missing_builder_names_its_extra(tmp_path: Path) -> None:
    result = _export("--task", "view", "--target", "tensorrt", "-o", str(tmp_path / "bundle"))
    assert result.exit_code == 10
    assert "ptp-deploy[tensorrt]" in result.output


@pytest.mark.parametrize("error", [ExportError("the op set does not allow it"), RuntimeError("out of luck")])
def test_a_failing_stage_leaves_the_command_that_repeats_it(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ptp_export.pipeline, "onnx_from_graph", fail)
    result = _export("--task", "view", "--fp16", "--size", "64x64", "-o", str(tmp_path / "bundle"))
    assert result.exit_code == 8
    assert "the stage 'analysis: ONNX' failed" in result.output
    assert error.args[0] in result.output
    command = shlex.split(result.output.split("repeat it with: ")[1].strip().rstrip("."))
    assert command[0] == "ptp-export"
    assert command[command.index("--only") + 1] == "analysis"
    assert _export(*command[1:]).exit_code == 8, "the command fails the same way"
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_does_not_convert_is_told_of_the_float_path(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConversionError("layer step_00/aggregate/2 gives numbers that are too large")

    monkeypatch.setattr(ptp_export.pipeline, "integer_export", fail)
    arguments = ("--task", "view", "--checkpoint", str(tiny_checkpoint), "--only", "step_00")
    result = _export(*arguments, "-o", str(tmp_path / "bundle"))
    assert result.exit_code == 8, result.output
    for words in ("step_00/aggregate/2", "--entropy-path float"):
        assert words in result.output


def test_help_teaches(tmp_path: Path) -> None:
    result = _export("--help")
    assert result.exit_code == 0
    for words in ("Examples:", "--target", "--fp16", "Exit codes:"):
        assert words in result.output


def test_one_graph_of_the_integer_path_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["--checkpoint", str(tiny_checkpoint), "--task", "view", "--only", "step_03", "--size", "64x64"]
    result = _export(*arguments, "--json", "-o", str(tmp_path / "bundle"))
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [(graph["name"], graph["precision"]) for graph in report["graphs"]] == [("step_03", "integer")]
    assert set(report["seconds"]) == {"load checkpoint", "entropy path: latents", "entropy path: integers"}
    assert report["entropy"]["certificate"]["worst"]["share"] < 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("path", "precision"), [("integer", "integer"), ("float", "fp32")])
def test_a_static_view_bundle_is_written_and_verified(
    path: str, precision: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The other head, the other kind of sizes, both entropy paths: exported, opened, compared with torch."""
    bundle = tmp_path / "bundle"
    arguments = ["--task", "view", "--checkpoint", str(tiny_checkpoint), "--size", "130x200", "-o", str(bundle)]
    result = _export(*arguments, "--entropy-path", path)
    assert result.exit_code == 0, result.output
    assert ("readable by the same backend" in result.output) == (path == "float"), "what it costs is said"
    manifest = Bundle.open(bundle).manifest
    assert (manifest.preprocessing.height, manifest.preprocessing.width) == ((192, 192), (256, 256))
    assert manifest.graph("head").inputs[0].shape == (1, 24, 33, 50)
    assert {graph.precision for graph in manifest.graphs if graph.role != "entropy"} == {"fp32"}
    assert {graph.precision for graph in manifest.graphs if graph.role == "entropy"} == {precision}
    assert (manifest.entropy.mode, manifest.entropy.golden is None) == (path, path == "float")
    verified = CliRunner().invoke(verify_command, [str(bundle), "--checkpoint", str(tiny_checkpoint), "--json"])
    assert verified.exit_code == 0, verified.output
    report = json.loads(verified.stdout)
    assert {(entry["height"], entry["width"]) for entry in report["chain"]} == {(132, 200)}
    assert (report["entropy"] is None) == (path == "float")
    again = _export(*arguments)
    assert again.exit_code == 2
    assert "--overwrite" in again.output


def test_a_file_where_the_logs_should_go_is_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "bundle.log").write_text("somebody's")
    result = CliRunner().invoke(export_command, ["--task", "seg", "-o", str(tmp_path / "bundle")])
    assert result.exit_code == 2, result.output
    assert "expected a folder" in result.output
    assert (tmp_path / "bundle.log").read_text() == "somebody's"
    assert not (tmp_path / "bundle").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
def test_an_export_says_how_far_its_engines_are_proved(tiny_checkpoint: Path, tmp_path: Path) -> None:
    asked = ("--task", "view", "--checkpoint", str(tiny_checkpoint), "--only", "head", "--target", "tensorrt-rtx")
    rest = ("--engine-cache", str(tmp_path / "cache"), "-o", str(tmp_path / "bundle"))

    first = _export(*asked, *rest)
    assert first.exit_code == 0, first.output
    assert "Precision of 1 of 1 engines: proved on the " in first.output
    second = _export(*asked, *rest, "--json")
    (engine,) = json.loads(second.stdout)["graphs"][0]["engines"]
    assert engine["cached"]
    assert engine["proof"]["level"] in ("network", "engine")
    assert engine["proof"]["shares"]["network"] == {"fp32": 1.0}
    if engine["proof"]["level"] == "network":
        assert "Not proved on the engine: head (there is no NVIDIA device here)" in first.output


def test_choices_that_a_builder_lacks_are_refused_before_the_work(tmp_path: Path) -> None:
    result = _export(
        "--task", "view", "--target", "tensorrt-rtx", "--compatible", "hardware", "-o", str(tmp_path / "bundle")
    )

    assert result.exit_code == 2
    assert "--device, once for each compute capability" in result.output
    assert list(tmp_path.iterdir()) == []
