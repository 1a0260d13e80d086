"""Each engine of a bundle on a machine that is told: with and without a library, with and without a GPU."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from ptp_runtime.backends.cuda_driver import Driver
from ptp_runtime.backends.engine_backend import EngineBackend
from ptp_runtime.bundle import Bundle
from ptp_runtime.doctor import FAIL, NOTE, OK
from ptp_runtime.doctor.engines import engine_findings
from ptp_runtime.engines import bundle_engines
from ptp_runtime.engines.builders import engine_builder
from ptp_runtime.engines.bundle_engines import engine_states
from ptp_runtime.engines.proof import ProofMemory
from ptp_runtime.engines.repair import open_for_repair
from ptp_runtime.errors import (
    BackendNotAvailableError,
    DamagedEngineError,
    EngineDeviceError,
    EnginePrecisionError,
    ManifestError,
    MissingExtraError,
)
from ptp_runtime.manifest import EngineEntry, json_from_manifest
from ptp_runtime.selftest import write_pocket_bundle

pytestmark = pytest.mark.runtime


def _load(name: str) -> Any:
    """A module beside this one: tests are no packages."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


pretend = _load("pretend_gpu")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A pocket bundle whose head has an engine for TensorRT."""
    path = write_pocket_bundle(tmp_path / "bundle", task="view")
    _with_engine(path)
    return path


def _with_engine(path: Path, **changes: Any) -> None:
    manifest = Bundle.open_unverified(path).manifest
    entry = EngineEntry(
        "engines/head.plan",
        "head",
        "head",
        "tensorrt",
        "fp16",
        hashlib.sha256(pretend.PLAN).hexdigest(),
        "10.13.0",
        ("8.9",),
        {},
    )
    (path / "engines").mkdir(exist_ok=True)
    (path / entry.file).write_bytes(pretend.PLAN)
    changed = dataclasses.replace(manifest, engines=(dataclasses.replace(entry, **changes),))
    (path / "manifest.json").write_bytes(json_from_manifest(changed))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Path) -> Any:
    """A machine with TensorRT 10.13.0 and a GPU of 8.9; the engine that it makes of the plan."""
    driver = pretend.PretendDriver()
    graph = Bundle.open(bundle).manifest.graph("head")
    engine = pretend.PretendEngine(driver, names=(graph.inputs[0].name, graph.outputs[0].name))
    memory = ProofMemory(tmp_path / "proofs")
    library = pretend.pretend_library(engine)
    monkeypatch.setattr(bundle_engines, "_installed", lambda target: "10.13.0")
    monkeypatch.setattr(bundle_engines, "Driver", lambda: Driver(driver))
    monkeypatch.setattr(
        bundle_engines,
        "open_backend",
        lambda target, threads: EngineBackend(target, library, Driver(driver), memory),
    )
    return engine


def test_an_engine_that_loads_is_fine(bundle: Path, gpu: Any) -> None:
    (state,) = engine_states(open_for_repair(bundle), "tensorrt")

    assert state.problem is None
    assert not state.own_fault
    (found,) = engine_findings(bundle)
    assert (found.subject, found.status) == ("engines for TensorRT", OK)
    assert "1, built with 10.13.0 for GPUs of 8.9; all load here" in found.detail


def test_its_precision_is_proved_while_we_are_at_it(bundle: Path, gpu: Any) -> None:
    _with_engine(bundle, asked={"fp16": {"conv": 1.0}})
    tensor = [{"Name": "t", "Format/Datatype": "Half"}]
    gpu.layers = [{"Inputs": tensor, "Outputs": tensor, "Metadata": "[ONNX Layer: conv]"}]

    assert "proved on the engine (100% fp16" in engine_findings(bundle)[0].detail

    _with_engine(bundle, asked={"fp32": {"conv": 1.0}})
    (state,) = engine_states(open_for_repair(bundle), "tensorrt")
    assert isinstance(state.problem, EnginePrecisionError)
    assert state.own_fault


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"devices": ("8.6",)}, EngineDeviceError),
        ({"sha256": "ab" * 32}, DamagedEngineError),
    ],
)
def test_a_faulty_engine_is_explained(bundle: Path, gpu: Any, changes: dict[str, Any], kind: type) -> None:
    _with_engine(bundle, **changes)
    (state,) = engine_states(open_for_repair(bundle), "tensorrt")

    assert isinstance(state.problem, kind)
    assert state.own_fault
    (found,) = engine_findings(bundle)
    assert found.hint == f"ptp doctor --fix {bundle}"
    assert "with the same streams" in found.detail


def test_a_fault_matters_where_the_engine_was_asked_for(bundle: Path, gpu: Any) -> None:
    _with_engine(bundle, devices=("8.6",))

    assert [engine_findings(bundle, asked)[0].status for asked in ("auto", "cpu", "tensorrt")] == [NOTE, NOTE, FAIL]


def test_a_machine_without_the_library_or_a_gpu_has_no_quarrel_with_the_engine(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise BackendNotAvailableError("there is no NVIDIA driver")

    monkeypatch.setattr(bundle_engines, "Driver", no_driver)
    for version, reason in (("", "TensorRT is not installed"), ("10.13.0", "there is no NVIDIA driver")):
        monkeypatch.setattr(bundle_engines, "_installed", lambda target, version=version: version)
        (state,) = engine_states(open_for_repair(bundle), "tensorrt")
        assert not state.own_fault
        (found,) = engine_findings(bundle)
        assert (found.status, reason in found.detail) == (NOTE, True)


def test_without_a_device_another_version_is_known_all_the_same(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_engines, "_installed", lambda target: "11.0.0")
    (state,) = engine_states(open_for_repair(bundle), "tensorrt")

    assert state.own_fault
    assert "expected 10.13.0, got 11.0.0 installed here" in engine_findings(bundle)[0].detail


def test_a_graph_that_is_damaged_is_beyond_repair(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    (bundle / manifest.graph("head").file).write_bytes(b"")

    with pytest.raises(Exception, match="is not the file that was exported"):
        open_for_repair(bundle)
    assert engine_findings(bundle) == (), "the finding on the bundle says it"


def test_an_engine_that_points_outside_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(pretend.PLAN)
    (bundle / "engines/head.plan").unlink()
    (bundle / "engines/head.plan").symlink_to(tmp_path / "secret")

    damaged = open_for_repair(bundle)
    assert [type(error) for error in damaged.broken.values()] == [ManifestError]
    assert isinstance(engine_states(damaged, "tensorrt")[0].problem, DamagedEngineError)


def test_without_a_builder_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptp_runtime.engines.builders.entry_points", lambda group: [])

    with pytest.raises(MissingExtraError, match="'export'") as caught:
        engine_builder()
    assert "ptp-deploy[export]" in caught.value.hint


def test_a_builder_that_does_not_import_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def load(self) -> None:
            raise ModuleNotFoundError("No module named 'onnx'")

    monkeypatch.setattr("ptp_runtime.engines.builders.entry_points", lambda group: [Broken()])

    with pytest.raises(MissingExtraError, match="No module named 'onnx'"):
        engine_builder()
