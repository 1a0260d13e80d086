"""What the doctor makes of a machine that it is told about."""

from __future__ import annotations

import pytest

from ptp_runtime import doctor
from ptp_runtime.backends import cuda_driver
from ptp_runtime.errors import StreamError

pytestmark = pytest.mark.runtime


def test_one_onnxruntime_is_fine() -> None:
    assert doctor.onnxruntime_packages({"onnxruntime": "1.31.1", "numpy": "2.0"}).status == doctor.OK
    assert doctor.onnxruntime_packages({"onnxruntime-gpu": "1.31.1"}).status == doctor.OK


def test_two_onnxruntimes_overwrite_each_other() -> None:
    finding = doctor.onnxruntime_packages({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.30.0"})

    assert finding.status == doctor.FAIL
    assert "onnxruntime 1.31.1, onnxruntime-gpu 1.30.0" in finding.detail
    assert "pip uninstall onnxruntime onnxruntime-gpu" in finding.hint


def test_no_onnxruntime_is_broken() -> None:
    finding = doctor.onnxruntime_packages({})

    assert finding.status == doctor.FAIL
    assert "ptp-deploy[cpu]" in finding.hint


def test_a_cpu_without_vectors_is_a_note() -> None:
    assert doctor._cpu(frozenset({"sse4_2"})).status == doctor.NOTE
    assert doctor._cpu(frozenset({"avx2"})).status == doctor.OK
    assert doctor._cpu(frozenset({"asimd"})).status == doctor.OK
    assert doctor._cpu(frozenset()).status == doctor.OK, "unknown is not absent"


def test_a_missing_library_is_broken() -> None:
    assert doctor._library("numba", {}).status == doctor.FAIL
    assert doctor._library("numba", {"numba": "1"}).detail == "1"


def test_absent_engines_are_a_note_and_present_ones_are_named() -> None:
    packages = doctor.ENGINE_PACKAGES["TensorRT"]

    assert doctor._engine_library("TensorRT", packages, {}).status == doctor.NOTE
    assert doctor._engine_library("TensorRT", packages, {"tensorrt-cu13": "11.0"}).detail == "tensorrt-cu13 11.0"


def test_no_driver_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libcuda-that-is-not-there.so")

    assert doctor._devices().status == doctor.NOTE


def test_a_coder_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> doctor.Finding:
        raise StreamError("the coder is out of order", hint="mend it")

    finding = doctor._guarded("coder", fail)

    assert (finding.subject, finding.status, finding.hint) == ("coder", doctor.FAIL, "mend it")


def test_a_library_that_does_not_import_is_a_finding() -> None:
    def fail() -> doctor.Finding:
        raise ImportError("numba needs another numpy\nlong story")

    finding = doctor._guarded("coder", fail)

    assert finding.status == doctor.FAIL
    assert finding.detail == "ImportError: numba needs another numpy"


def test_the_self_test_codes_something() -> None:
    finding = doctor._self_test()

    assert finding.status == doctor.OK
    assert "symbols coded and decoded alike" in finding.detail
