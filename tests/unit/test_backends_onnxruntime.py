"""ONNX Runtime on tiny models written by hand, byte by byte: neither onnx nor torch is needed to test it."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError, EngineError
from ptp_runtime.manifest import GraphEntry, TensorInfo

pytestmark = pytest.mark.runtime

pytest.importorskip("onnxruntime")

from ptp_runtime.backends.onnxruntime_backend import (  # noqa: E402 - only where onnxruntime is installed
    OnnxRuntimeBackend,
)
from ptp_runtime.backends.onnxruntime_providers import PROVIDERS, provider_options  # noqa: E402 - as below


def _field(number: int, value: int | bytes | str) -> bytes:
    """One protobuf field: a varint or a length-delimited one."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _tensor_type(name: str) -> bytes:
    """A ValueInfoProto: float32 [1, n]."""
    shape = _field(1, _field(1, 1)) + _field(1, _field(2, "n"))
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def _model(operator: str = "Add") -> bytes:
    """A ModelProto of one node: sum = operator(a, b)."""
    node = _field(1, "a") + _field(1, "b") + _field(2, "sum") + _field(4, operator)
    graph = _field(1, node) + _field(2, "g") + _field(11, _tensor_type("a")) + _field(11, _tensor_type("b"))
    graph += _field(12, _tensor_type("sum"))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13))


def _tensor(name: str) -> TensorInfo:
    return TensorInfo(name, "float32", (1, "n"))


def _entry(model: bytes) -> GraphEntry:
    digest = hashlib.sha256(model).hexdigest()
    return GraphEntry("adder", "head", "adder.onnx", digest, "fp32", (_tensor("a"), _tensor("b")), (_tensor("sum"),))


class _OneFile(Bundle):
    """A bundle of which only the reading of one file is used."""


def _bundle(folder: Path, model: bytes) -> Bundle:
    (folder / "adder.onnx").write_bytes(model)
    bundle = object.__new__(_OneFile)
    object.__setattr__(bundle, "path", folder)
    return bundle


def test_a_graph_runs_and_says_where(tmp_path: Path) -> None:
    backend = OnnxRuntimeBackend("cpu", 1)
    graph = backend.load(_bundle(tmp_path, _model()), _entry(_model()))

    result = graph.run({"a": np.array([[1, 2]], np.float32), "b": np.array([[10, 20]], np.float32)})

    assert result["sum"].tolist() == [[11, 22]]
    assert graph.provider == "CPUExecutionProvider"
    assert backend.name == "cpu"
    assert "(CPU, 1 thread)" in backend.provider


def test_another_length_needs_no_new_session(tmp_path: Path) -> None:
    graph = OnnxRuntimeBackend("cpu", 2).load(_bundle(tmp_path, _model()), _entry(_model()))

    for length in (1, 7, 3):
        ones = np.ones((1, length), np.float32)
        assert graph.run({"a": ones, "b": ones})["sum"].tolist() == [[2.0] * length]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot load the graph 'adder'"):
        OnnxRuntimeBackend("cpu", 1).load(_bundle(tmp_path, b"not onnx"), _entry(b"not onnx"))


def test_an_unknown_operator_is_refused(tmp_path: Path) -> None:
    model = _model("Teleport")

    with pytest.raises(EngineError, match="cannot load"):
        OnnxRuntimeBackend("cpu", 1).load(_bundle(tmp_path, model), _entry(model))


def test_other_names_than_the_manifest_says_are_refused(tmp_path: Path) -> None:
    entry = dataclasses.replace(_entry(_model()), outputs=(_tensor("difference"),))

    with pytest.raises(EngineError, match="other outputs than its manifest says"):
        OnnxRuntimeBackend("cpu", 1).load(_bundle(tmp_path, _model()), entry)


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": np.ones((1, 2), np.float32)},
        {"a": np.ones((1, 2), np.float64), "b": np.ones((1, 2), np.float32)},
        {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 3), np.float32)},
        {"a": np.ones((2, 2), np.float32), "b": np.ones((2, 2), np.float32)},
    ],
    ids=["missing", "dtype", "length", "batch"],
)
def test_a_run_that_fails_names_the_graph(tmp_path: Path, inputs: dict[str, np.ndarray]) -> None:
    graph = OnnxRuntimeBackend("cpu", 1).load(_bundle(tmp_path, _model()), _entry(_model()))

    with pytest.raises(EngineError, match="the graph 'adder' failed"):
        graph.run(inputs)


def test_a_missing_provider_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ptp_runtime.backends.onnxruntime_backend.ort.get_available_providers", lambda: ["CPUExecutionProvider"]
    )

    with pytest.raises(BackendNotAvailableError, match="no CUDAExecutionProvider"):
        OnnxRuntimeBackend("cuda", 1)


@pytest.mark.parametrize("device", ["cuda", "ort-tensorrt", "ort-tensorrt-rtx"])
def test_a_silent_turn_to_the_cpu_is_noticed(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists CUDA when it was built with it, and takes the CPU when CUDA does not load."""
    monkeypatch.setattr("ptp_runtime.backends.onnxruntime_backend.available_providers", PROVIDERS.values)
    monkeypatch.setattr("ptp_runtime.backends.onnxruntime_providers.user_cache", lambda name: tmp_path / name)
    backend = OnnxRuntimeBackend(device, 1)
    bundle, entry = _bundle(tmp_path, _model()), _entry(_model())
    module = "ptp_runtime.backends.onnxruntime_backend.ort.InferenceSession"
    real = __import__("onnxruntime").InferenceSession
    monkeypatch.setattr(
        module, lambda model, options, providers: real(model, options, providers=["CPUExecutionProvider"])
    )

    with pytest.raises(BackendNotAvailableError, match=f"did not take {PROVIDERS[device]}"):
        backend.load(bundle, entry)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "integer"])
def test_tensorrt_inside_onnxruntime_may_use_what_the_graph_uses_and_no_more(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptp_runtime.backends.onnxruntime_providers.user_cache", lambda name: tmp_path / name)
    entry = dataclasses.replace(_entry(_model()), precision=precision)

    (name, options), (behind, _) = provider_options("ort-tensorrt", entry)

    assert (name, behind) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert ("trt_fp16_enable" in options) == (precision in ("fp16", "int8"))
    assert ("trt_int8_enable" in options) == (precision == "int8")
    assert Path(options["trt_engine_cache_path"]).is_dir()


def test_what_cannot_be_kept_is_compiled_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("ptp_runtime.backends.onnxruntime_providers.user_cache", lambda name: tmp_path / "file" / name)

    for device in ("ort-tensorrt", "ort-tensorrt-rtx"):
        (_, options), _ = provider_options(device, _entry(_model()))
        assert not any("cache" in name for name in options)


_REPEATED = """
import sys
import numpy as np
from ptp_runtime import Session

def most():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024

photo = np.zeros((1024, 1024, 3), np.uint8)
with Session.open(sys.argv[1], backend="cpu") as session:
    session.encode(photo[:64, :64])
    seen = [most()]
    for _ in range(3):
        session.decode(session.encode(photo))
        seen.append(most())
print(*seen)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to know what the process holds")
def test_the_second_photo_of_a_size_takes_no_more_memory_than_the_first(repository: Path) -> None:
    bundle = repository / "tests/golden/streams/checkerboard/bundle"

    done = subprocess.run([sys.executable, "-c", _REPEATED, str(bundle)], capture_output=True, text=True, check=True)

    before, first, *later = (float(word) for word in done.stdout.split())
    assert first - before > 40, "the photo took no memory worth the test"
    assert max(later) - before < 1.25 * (first - before)
