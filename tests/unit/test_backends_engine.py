"""The engine backends against a library and a driver that pretend.

What is tested here is ours: the order of the calls, the sizes, the names and what happens when a call fails. How a
real engine behaves on a GPU has not been seen by these tests.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ptp_runtime.backends import DeviceTensor
from ptp_runtime.backends.cuda_driver import DeviceBuffer, Driver, device_names, load_library
from ptp_runtime.backends.engine_backend import EngineBackend
from ptp_runtime.engines.proof import ProofMemory
from ptp_runtime.errors import (
    AlteredFileError,
    BackendNotAvailableError,
    EngineDeviceError,
    EngineError,
    EnginePrecisionError,
    EngineVersionError,
)
from ptp_runtime.manifest import TensorInfo

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
PLAN, GRAPH, ENTRY = pretend.PLAN, pretend.GRAPH, pretend.ENTRY


def _backend(driver: Any, engine: Any = None) -> EngineBackend:
    return EngineBackend("tensorrt", pretend.pretend_library(engine or pretend.PretendEngine(driver)), Driver(driver))


def test_an_engine_runs_and_says_what_runs_it(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    backend = _backend(driver)
    graph = backend.load(pretend.one_engine_bundle(tmp_path), GRAPH)

    result = graph.run({"x": np.array([[1, 2, 3]], np.float32)})

    assert result["y"].tolist() == [[2, 4, 6]]
    assert graph.provider == "tensorrt 10.13.0"
    assert driver.calls[-1] == "cuStreamSynchronize"
    assert backend.provider == "tensorrt 10.13.0 on Pretend GPU (8.9)"


def test_buffers_grow_and_are_kept(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    graph = _backend(driver).load(pretend.one_engine_bundle(tmp_path), GRAPH)
    for length in (2, 8, 3):
        ones = np.ones((1, length), np.float32)
        assert graph.run({"x": ones})["y"].tolist() == [[2.0] * length]

    assert driver.calls.count("cuMemAlloc_v2") == 4, "two tensors, each allocated for 2 and once more for 8"
    graph.close()
    assert driver.memory == {}


def test_copies_go_through_page_locked_memory_and_results_stay(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    graph = _backend(driver).load(pretend.one_engine_bundle(tmp_path), GRAPH)
    first = graph.run({"x": np.ones((1, 8), np.float32)})["y"]
    graph.run({"x": np.zeros((1, 8), np.float32)})

    assert first.tolist() == [[2.0] * 8], "the next run takes the same memory"
    assert driver.calls.count("cuMemHostAlloc") == 2
    graph.close()
    assert driver.pinned == {}


def test_a_run_in_the_same_form_is_recorded_and_replayed(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    graph = _backend(driver).load(pretend.one_engine_bundle(tmp_path), GRAPH)

    results = [graph.run({"x": np.full((1, 8), n, np.float32)})["y"][0, 0] for n in range(5)]

    assert results == [0, 2, 4, 6, 8]
    assert driver.calls.count("execute_async_v3") == 2, "an ordinary run, a recording"
    assert driver.calls.count("cuGraphLaunch") == 4
    assert driver.calls.count("cuGraphDestroy") == 1
    assert graph.run({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[2.0] * 3], "another size is another form"
    assert driver.calls.count("cuGraphExecDestroy") == 1
    assert driver.calls.count("execute_async_v3") == 3


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_what_cannot_be_recorded_runs_kernel_by_kernel(tmp_path: Path, call: str) -> None:
    driver = pretend.PretendDriver()
    graph = _backend(driver).load(pretend.one_engine_bundle(tmp_path), GRAPH)
    driver.fails[call] = 901

    results = [graph.run({"x": np.full((1, 8), n, np.float32)})["y"][0, 0] for n in range(4)]

    assert results == [0, 2, 4, 6]
    assert driver.calls.count(call) == 1, "tried once"
    assert driver.calls.count("cuGraphLaunch") == 0
    assert not driver.capturing


def test_a_library_that_records_by_itself_is_asked_to(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    engine = pretend.PretendEngine(driver)
    library = pretend.pretend_library(engine)
    library.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="WHOLE")
    graph = EngineBackend("tensorrt", library, Driver(driver)).load(pretend.one_engine_bundle(tmp_path), GRAPH)

    for _ in range(3):
        graph.run({"x": np.ones((1, 8), np.float32)})

    assert [config.cuda_graph_strategy for config in engine.configs] == ["WHOLE"]
    assert "cuStreamBeginCapture_v2" not in driver.calls


def test_an_engine_runs_from_device_memory_to_device_memory(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    backend = _backend(driver)
    graph = backend.load(pretend.one_engine_bundle(tmp_path), GRAPH)
    values = np.array([[1, 2, 3]], np.float32)
    buffer = DeviceBuffer(backend.device)
    buffer.upload(values)
    driver.calls.clear()

    with graph.held():
        result = graph.run_on_device({"x": DeviceTensor(buffer.address, (1, 3), np.dtype(np.float32))})["y"]
        out = np.empty(result.shape, result.dtype)
        assert not any("cuMemcpy" in call or call == "cuStreamSynchronize" for call in driver.calls)
        backend.device.download(result.address, out)
        with pytest.raises(EngineError, match="takes another 'x'; expected float32; got float16"):
            graph.run_on_device({"x": DeviceTensor(buffer.address, (1, 3), np.dtype(np.float16))})

    assert out.tolist() == [[2, 4, 6]]


def test_a_strided_input_arrives_in_order(tmp_path: Path) -> None:
    graph = _backend(pretend.PretendDriver()).load(pretend.one_engine_bundle(tmp_path), GRAPH)

    assert graph.run({"x": np.arange(8, dtype=np.float32)[None, ::2]})["y"].tolist() == [[0, 4, 8, 12]]


def test_a_shape_outside_the_profile_says_so(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    graph = _backend(driver).load(pretend.one_engine_bundle(tmp_path), GRAPH)

    with pytest.raises(EngineError, match="does not take this shape"):
        graph.run({"x": np.ones((1, 9), np.float32)})

    assert driver.calls[-1] == "cuStreamSynchronize", "copies may still be under way"


def test_a_failed_execution_says_so(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    engine = pretend.PretendEngine(driver)
    graph = _backend(driver, engine).load(pretend.one_engine_bundle(tmp_path), GRAPH)
    engine.context.fails = True

    with pytest.raises(EngineError, match="failed"):
        graph.run({"x": np.ones((1, 2), np.float32)})


def test_a_full_device_says_so(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    graph = _backend(driver).load(pretend.one_engine_bundle(tmp_path), GRAPH)
    driver.fails["cuMemAlloc_v2"] = 2

    with pytest.raises(EngineError, match="cuMemAlloc_v2") as caught:
        graph.run({"x": np.ones((1, 2), np.float32)})

    assert caught.value.got == "CUDA_ERROR_PRETENDED"


def test_a_plan_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    entry = dataclasses.replace(ENTRY, sha256=hashlib.sha256(b"older plan").hexdigest(), built_with="10.12.0")

    with pytest.raises(EngineVersionError, match=r"another version of TensorRT; expected 10\.12\.0") as caught:
        _backend(pretend.PretendDriver()).load(pretend.one_engine_bundle(tmp_path, b"older plan", entry), GRAPH)

    assert caught.value.got == "10.13.0 installed here"
    assert "ptp doctor --fix" in caught.value.hint


def test_a_plan_that_the_library_refuses_is_explained_in_its_words(tmp_path: Path) -> None:
    driver, entry = pretend.PretendDriver(), dataclasses.replace(ENTRY, sha256=hashlib.sha256(b"odd").hexdigest())
    library = pretend.pretend_library(pretend.PretendEngine(driver), says="magicTag does not match")
    backend = EngineBackend("tensorrt", library, Driver(driver))

    with pytest.raises(EngineError, match="does not load here") as caught:
        backend.load(pretend.one_engine_bundle(tmp_path, b"odd", entry), GRAPH)

    assert caught.value.got == "magicTag does not match"


def test_an_engine_of_another_device_never_reaches_the_library(tmp_path: Path) -> None:
    entry = dataclasses.replace(ENTRY, devices=("8.6", "12.0"))

    with pytest.raises(
        EngineDeviceError, match=r"another GPU; expected a compute capability of 8\.6, 12\.0; got Pretend"
    ):
        _backend(pretend.PretendDriver()).load(pretend.one_engine_bundle(tmp_path, entry=entry), GRAPH)


def test_a_gpu_that_the_library_does_not_list_is_named_when_it_fails(tmp_path: Path) -> None:
    driver, odd = pretend.PretendDriver(), dataclasses.replace(ENTRY, sha256=hashlib.sha256(b"odd").hexdigest())
    library = pretend.pretend_library(pretend.PretendEngine(driver), capabilities=("SM75", "SM120"))
    backend = EngineBackend("tensorrt", library, Driver(driver))

    assert backend.load(pretend.one_engine_bundle(tmp_path), GRAPH).provider, "it may take more than it lists"
    with pytest.raises(EngineDeviceError, match=r"does not list the GPU Pretend GPU.*7\.5, 12\.0; got 8\.9"):
        backend.load(pretend.one_engine_bundle(tmp_path, b"odd", odd), GRAPH)


ASKED = {"fp16": {"conv": 0.9}, "fp32": {"norm": 0.1}}


def _layer(node: str, kind: str) -> dict[str, Any]:
    tensor = {"Name": "t", "Dimensions": [1, 2], "Format/Datatype": kind}
    return {"Name": node, "Inputs": [tensor], "Outputs": [tensor], "Metadata": f"[ONNX Layer: {node}]"}


def test_an_engine_is_inspected_once_for_each_device(tmp_path: Path) -> None:
    driver, entry = pretend.PretendDriver(), dataclasses.replace(ENTRY, asked=ASKED)
    engine = pretend.PretendEngine(driver)
    engine.layers = [_layer("conv", "Row major linear FP16 format"), _layer("norm", "Float")]
    bundle = pretend.one_engine_bundle(tmp_path, entry=entry)
    for _ in range(3):
        backend = EngineBackend(
            "tensorrt", pretend.pretend_library(engine), Driver(driver), ProofMemory(tmp_path / "proofs")
        )
        backend.load(bundle, GRAPH)

    assert engine.inspections == 1


@pytest.mark.parametrize("time", [1, 2])
def test_an_engine_that_computes_in_something_else_is_refused(tmp_path: Path, time: int) -> None:
    """The public case: an FP32 engine under an FP16 label. The second time it is remembered."""
    driver, entry = pretend.PretendDriver(), dataclasses.replace(ENTRY, asked=ASKED)
    engine = pretend.PretendEngine(driver)
    engine.layers = [_layer("conv", "Float"), _layer("norm", "Float")]
    bundle = pretend.one_engine_bundle(tmp_path, entry=entry)
    for _ in range(time):
        backend = EngineBackend(
            "tensorrt", pretend.pretend_library(engine), Driver(driver), ProofMemory(tmp_path / "proofs")
        )
        with pytest.raises(EnginePrecisionError, match=r"1 layers compute in something else.*conv: fp16, fp32"):
            backend.load(bundle, GRAPH)

    assert engine.inspections == 1


def _stripped(folder: Path, driver: Any, *, missing: tuple[str, ...] = ()) -> tuple[Any, Any, list[bytes]]:
    """A bundle whose engine has no weights, a library that takes them, and what it was given."""
    given: list[bytes] = []
    library = pretend.pretend_library(pretend.PretendEngine(driver))
    library.Refitter = lambda engine, logger: SimpleNamespace(
        get_missing_weights=lambda: list(missing), refit_cuda_engine=lambda: True
    )

    def take(model: bytes) -> bool:
        given.append(model)
        return True

    library.OnnxParserRefitter = lambda refitter, logger: SimpleNamespace(refit_from_bytes=take)
    (folder / "head.onnx").write_bytes(b"weights")
    bundle = pretend.one_engine_bundle(folder, entry=dataclasses.replace(ENTRY, stripped=True))
    return bundle, library, given


def test_an_engine_without_weights_gets_those_of_its_graph(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    bundle, library, given = _stripped(tmp_path, driver)
    graph = dataclasses.replace(GRAPH, sha256=hashlib.sha256(b"weights").hexdigest())

    loaded = EngineBackend("tensorrt", library, Driver(driver)).load(bundle, graph)

    assert given == [b"weights"]
    assert loaded.run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2, 2]]


def test_an_engine_whose_weights_are_missing_is_refused(tmp_path: Path) -> None:
    driver = pretend.PretendDriver()
    bundle, library, _ = _stripped(tmp_path, driver, missing=("conv.bias",))
    graph = dataclasses.replace(GRAPH, sha256=hashlib.sha256(b"weights").hexdigest())

    with pytest.raises(EngineError, match=r"1 missing, such as conv\.bias"):
        EngineBackend("tensorrt", library, Driver(driver)).load(bundle, graph)


def test_a_changed_plan_never_reaches_the_library(tmp_path: Path) -> None:
    with pytest.raises(AlteredFileError, match=r"head\.engine"):
        _backend(pretend.PretendDriver()).load(pretend.one_engine_bundle(tmp_path, b"changed"), GRAPH)


def test_32_bit_integers_stand_for_16_bit_ones(tmp_path: Path) -> None:
    """TensorRT has no int16: the engine of a step gives the means as int32."""
    driver = pretend.PretendDriver()
    graph = dataclasses.replace(
        GRAPH, inputs=(TensorInfo("x", "int16", (1, "n")),), outputs=(TensorInfo("y", "int16", (1, "n")),)
    )
    loaded = _backend(driver, pretend.PretendEngine(driver, dtype="int32")).load(
        pretend.one_engine_bundle(tmp_path), graph
    )

    result = loaded.run({"x": np.array([[-1023, 1023]], np.int16)})["y"]

    assert result.dtype == np.int16
    assert result.tolist() == [[-2046, 2046]]


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"names": ("x", "z")}])
def test_an_engine_of_another_graph_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    driver = pretend.PretendDriver()

    with pytest.raises(EngineError, match="other inputs and outputs"):
        _backend(driver, pretend.PretendEngine(driver, **options)).load(pretend.one_engine_bundle(tmp_path), GRAPH)


def test_a_graph_without_an_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no tensorrt engine for the graph 'analysis'"):
        _backend(pretend.PretendDriver()).load(
            pretend.one_engine_bundle(tmp_path), dataclasses.replace(GRAPH, name="analysis")
        )


def test_no_device_is_a_typed_error() -> None:
    with pytest.raises(BackendNotAvailableError, match="no device"):
        _backend(pretend.PretendDriver(devices=0))


def test_a_driver_that_does_not_start_is_a_typed_error() -> None:
    with pytest.raises(BackendNotAvailableError, match="does not start"):
        Driver(pretend.PretendDriver(init=100))


def test_devices_have_names() -> None:
    assert device_names(pretend.PretendDriver(devices=2)) == ("Pretend GPU (8.9)", "Pretend GPU (8.9)")


def test_no_driver_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptp_runtime.backends.cuda_driver._LIBRARY", "libcuda-that-is-not-there.so")

    with pytest.raises(BackendNotAvailableError, match="no NVIDIA driver"):
        load_library()
