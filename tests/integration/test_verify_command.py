"""``ptp verify``: passes on an honest bundle, fails on every other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

from ptp_calibration.integer_path import prove
from ptp_export.entropy.certificate import entropy_models, summary
from ptp_export.photos import photos
from ptp_export.verify.cli import verify_command
from ptp_model import checkpoint
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.teachers import build
from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import Manifest, entropy_identity, json_from_manifest


def _verify(*arguments: str) -> Result:
    return CliRunner().invoke(verify_command, list(arguments))


@pytest.fixture(scope="module")
def cat_folder(cat_photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One photo is enough to see a failure."""
    folder = tmp_path_factory.mktemp("photos")
    shutil.copy(cat_photo, folder)
    return folder


def test_an_honest_bundle_passes_on_the_shipped_photos(demo_bundle: Path) -> None:
    result = _verify(str(demo_bundle), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["passed"] is True
    assert [entry["photo"] for entry in report["chain"]] == sorted(photo.path.name for photo in photos("parity"))
    assert any(entry["height"] % 64 and entry["width"] % 64 for entry in report["chain"])
    assert {graph["name"] for graph in report["graphs"]} == {
        graph.name for graph in Bundle.open(demo_bundle).manifest.graphs
    }
    for graph in report["graphs"]:
        assert 0 <= graph["typical"] < 0.05
        assert 0 <= graph["worst"] < 0.05
        assert all(tensor["photos"] == len(report["chain"]) for tensor in graph["tensors"])
    for entry in report["chain"]:
        assert entry["round_trip_errors"] == 0
        assert entry["disagreement"] < 0.02
        assert entry["size_bytes"] > 100
    assert report["entropy"]["differing"] == 0 < report["entropy"]["compared"]
    assert report["entropy"]["cost"] < report["entropy"]["limit"] == 0.01
    for graph in report["graphs"]:
        if graph["role"] == "entropy":
            assert graph["worst"] == graph["typical"] == 0, graph["name"]


def test_the_table_is_for_people(demo_bundle: Path, cat_folder: Path) -> None:
    result = _verify(str(demo_bundle), "--photos", str(cat_folder))
    assert result.exit_code == 0, result.output
    for words in (
        "worst error",
        "synthesis",
        "cat.jpg",
        "300x451",
        "exact",
        "proved exact",
        "computes what the checkpoint",
    ):
        assert words in result.output


def test_a_limit_that_is_passed_fails(demo_bundle: Path, cat_folder: Path, tmp_path: Path) -> None:
    import ptp_export.verify.limits as module

    text = (Path(module.__file__).with_name("limits.toml")).read_text(encoding="utf-8")
    strict = tmp_path / "strict.toml"
    strict.write_text(text.replace("worst = 5e-3", "worst = 1e-9"), encoding="utf-8")
    result = _verify(str(demo_bundle), "--photos", str(cat_folder), "--limits", str(strict))
    assert result.exit_code == 9
    assert "NO" in result.output
    assert "analysis: y is off by" in result.output


def _tampered(bundle: Path, target: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of a bundle whose graph was changed *and* whose manifest was made to fit: every digest is right."""
    shutil.copytree(bundle, target)
    manifest = Bundle.open(target).manifest
    entry = manifest.graph(name)
    model = onnx.load(target / entry.file)
    change(model)
    data = model.SerializeToString()
    (target / entry.file).write_bytes(data)
    replaced = dataclasses.replace(entry, sha256=hashlib.sha256(data).hexdigest())
    graphs = tuple(replaced if graph.name == name else graph for graph in manifest.graphs)
    digests = {graph.name: graph.sha256 for graph in graphs}
    entropy = manifest.entropy
    identity = entropy_identity(
        mode=entropy.mode,
        tables_sha256=entropy.tables.sha256,
        probability_bits=entropy.probability_bits,
        skip_index=entropy.skip_index,
        rates_sha256=entropy.rates.sha256 if entropy.rates else None,
        hyper_sha256=digests["hyper"],
        schedule=entropy.schedule,
        step_sha256=[digests[step.graph] for step in entropy.schedule],
    )
    entropy = dataclasses.replace(entropy, identity=identity)
    _write_manifest(target, dataclasses.replace(manifest, graphs=graphs, entropy=entropy))
    return target


def _write_manifest(bundle: Path, manifest: Manifest) -> None:
    (bundle / "manifest.json").write_bytes(json_from_manifest(manifest))


def _scale_a_weight(model: onnx.ModelProto) -> None:
    """The heaviest convolution's weights grow by five per cent: a bundle that still works, of another model.

    LRCP's are left alone: what it adds goes through a tanh and is so little that FP16 rounds away a twentieth of it.
    """
    weights = [weight for weight in model.graph.initializer if ".lrcp." not in weight.name]
    arrays = [(weight, numpy_helper.to_array(weight)) for weight in weights]
    weight, value = max((pair for pair in arrays if pair[1].ndim == 4), key=lambda pair: float(np.abs(pair[1]).sum()))
    weight.CopyFrom(numpy_helper.from_array((value * 1.05).astype(value.dtype), weight.name))


@pytest.mark.parametrize("name", ["analysis", "synthesis", "head"])
def test_a_consistent_bundle_of_another_model_fails(
    name: str, demo_bundle: Path, cat_folder: Path, tmp_path: Path
) -> None:
    altered = _tampered(demo_bundle, tmp_path / "altered", name, _scale_a_weight)
    result = _verify(str(altered), "--photos", str(cat_folder), "--json")
    assert result.exit_code == 9
    report = json.loads(result.stdout[: result.stdout.rindex("}") + 1])
    assert [graph["name"] for graph in report["graphs"] if not graph["passed"]] == [name]
    assert report["passed"] is False


def _shift_a_bias(model: onnx.ModelProto) -> None:
    """One channel of one layer gives another integer now and then: within the bounds, still whole numbers."""
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "step_03/aggregate/1/bias")
    value = numpy_helper.to_array(bias).copy()
    value[5] -= 0.25
    bias.CopyFrom(numpy_helper.from_array(value, bias.name))


def test_an_altered_integer_path_is_refused_whoever_made_the_digests_fit(
    demo_bundle: Path, cat_folder: Path, tmp_path: Path
) -> None:
    """First by its certificate or its golden test; with both made to fit, it would be another model's path."""
    altered = _tampered(demo_bundle, tmp_path / "altered", "step_03", _shift_a_bias)
    bundle = Bundle.open(altered)
    certificate = summary(prove(entropy_models(bundle)))
    audit = dict(bundle.manifest.audit)
    audit["entropy"] = audit["entropy"] | {"certificate": certificate}
    _write_manifest(altered, dataclasses.replace(bundle.manifest, audit=audit))
    result = _verify(str(altered), "--photos", str(cat_folder))
    assert result.exit_code == 6, result.output
    assert "graph 'step_03', layer 'step_03/aggregate/1'" in result.output


def test_an_integer_path_without_its_certificate_is_refused(
    demo_bundle: Path, cat_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(demo_bundle, tmp_path / "bundle")
    manifest = Bundle.open(demo_bundle).manifest
    audit = {name: value for name, value in manifest.audit.items() if name != "entropy"}
    _write_manifest(tmp_path / "bundle", dataclasses.replace(manifest, audit=audit))
    result = _verify(str(tmp_path / "bundle"), "--photos", str(cat_folder))
    assert result.exit_code == 9, result.output
    assert "certificate in the manifest" in result.output


def test_an_altered_file_is_refused_by_name(demo_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(demo_bundle, copy)
    path = copy / "graphs" / "synthesis.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    result = _verify(str(copy))
    assert result.exit_code == 5
    assert "graphs/synthesis.onnx" in result.output


def test_another_checkpoint_is_refused(demo_bundle: Path, tmp_path: Path) -> None:
    spec = checkpoint.load("demo").spec
    task = checkpoint.TaskModel(TaskPrompts(spec), build(spec.teacher, "seg"))
    checkpoint.save(tmp_path, FeatureCodec(spec), {"seg": task}, {})
    result = _verify(str(demo_bundle), "--checkpoint", str(tmp_path))
    assert result.exit_code == 7
    assert "not exported from the checkpoint" in result.output


def test_calibration_photos_alone_compare_nothing(demo_bundle: Path, tmp_path: Path) -> None:
    shutil.copy(photos("calibration")[0].path, tmp_path / "under-another-name.jpg")
    result = _verify(str(demo_bundle), "--photos", str(tmp_path))
    assert result.exit_code == 9
    assert "nothing was compared" in result.output


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_a_folder_without_photos_is_refused(name: str, demo_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = _verify(str(demo_bundle), "--photos", str(tmp_path / name))
    assert result.exit_code == 2
    assert "photos cannot be used" in result.output


def test_a_graph_that_explodes_fails_and_reports(demo_bundle: Path, cat_folder: Path, tmp_path: Path) -> None:
    def explode(model: onnx.ModelProto) -> None:
        weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
        value = numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(np.full_like(value, np.nan), weight.name))

    altered = _tampered(demo_bundle, tmp_path / "altered", "head", explode)
    result = _verify(str(altered), "--photos", str(cat_folder))
    assert result.exit_code in (6, 9)
    assert "Traceback" not in result.output
    assert "head" in result.output
