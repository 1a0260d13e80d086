"""What the doctor makes of a machine that it is told about."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ptp_runtime.backends import cuda_driver
from ptp_runtime.doctor import chain, finding, libraries, nvidia
from ptp_runtime.errors import StreamError

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


def test_one_onnxruntime_is_fine() -> None:
    assert libraries.onnxruntime_packages({"onnxruntime": "1.31.1", "numpy": "2.0"}).status == finding.OK
    assert libraries.onnxruntime_packages({"onnxruntime-gpu": "1.31.1"}).status == finding.OK


def test_two_onnxruntimes_overwrite_each_other() -> None:
    found = libraries.onnxruntime_packages({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.30.0"})

    assert found.status == finding.FAIL
    assert "onnxruntime 1.31.1, onnxruntime-gpu 1.30.0" in found.detail
    assert "pip uninstall onnxruntime onnxruntime-gpu" in found.hint


def test_no_onnxruntime_is_broken() -> None:
    found = libraries.onnxruntime_packages({})

    assert found.status == finding.FAIL
    assert "ptp-deploy[cpu]" in found.hint


def test_a_cpu_without_vectors_is_a_note() -> None:
    assert libraries._cpu(frozenset({"sse4_2"})).status == finding.NOTE
    assert libraries._cpu(frozenset({"avx2"})).status == finding.OK
    assert libraries._cpu(frozenset({"asimd"})).status == finding.OK
    assert libraries._cpu(frozenset()).status == finding.OK, "unknown is not absent"


def test_a_missing_library_is_broken() -> None:
    assert libraries._library("numba", {}).status == finding.FAIL
    assert libraries._library("numba", {"numba": "1"}).detail == "1"


def test_absent_engine_libraries_are_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "installed_versions", lambda *names: {})

    assert nvidia.engine_library("tensorrt").status == finding.NOTE


def test_a_present_engine_library_says_its_version_and_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SimpleNamespace(supported=lambda: ("8.9", "12.0"))
    monkeypatch.setattr(nvidia, "installed_versions", lambda *names: {names[-1]: "1.7"})
    monkeypatch.setattr(nvidia, "import_module", lambda name: backend)

    found = nvidia.engine_library("tensorrt-rtx")
    assert (found.subject, found.status) == ("TensorRT for RTX", finding.OK)
    assert found.detail == "tensorrt-rtx-cu13 1.7; for GPUs of compute capability 8.9, 12.0"


def test_an_engine_library_that_does_not_load_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError("libnvinfer.so.11: cannot open shared object file\nmore")

    monkeypatch.setattr(nvidia, "installed_versions", lambda *names: {"tensorrt": "11.0"})
    monkeypatch.setattr(nvidia, "import_module", fail)

    found = nvidia.engine_library("tensorrt")
    assert found.status == finding.FAIL
    assert found.detail.endswith("cannot be loaded: libnvinfer.so.11: cannot open shared object file")


def test_no_driver_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libcuda-that-is-not-there.so")

    (found,) = nvidia.devices()
    assert found.status == finding.NOTE


def test_the_driver_and_its_devices_are_named() -> None:
    driver, device = nvidia.devices(pretend.PretendDriver(devices=2))

    assert driver.detail.startswith("serves CUDA up to 13.1")
    assert device.detail == "Pretend GPU (8.9), Pretend GPU (8.9)"
    assert nvidia.devices(pretend.PretendDriver(devices=0))[-1].status == finding.NOTE


def test_a_coder_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> finding.Finding:
        raise StreamError("the coder is out of order", hint="mend it")

    found = finding.guarded("coder", fail)

    assert (found.subject, found.status, found.hint) == ("coder", finding.FAIL, "mend it")


def test_a_library_that_does_not_import_is_a_finding() -> None:
    def fail() -> finding.Finding:
        raise ImportError("numba needs another numpy\nlong story")

    found = finding.guarded("coder", fail)

    assert found.status == finding.FAIL
    assert found.detail == "ImportError: numba needs another numpy"


def test_the_self_test_codes_something() -> None:
    found = chain.self_test()

    assert found.status == finding.OK
    assert "symbols coded and decoded alike" in found.detail
