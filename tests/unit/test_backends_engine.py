"""The engine backends against a library and a driver that pretend.

What is tested here is ours: the order of the calls, the sizes, the names and what happens when a call fails. How a
real engine behaves on a GPU has not been seen by these tests.
"""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ptp_runtime.backends.cuda_driver import Driver, device_names, load_library
from ptp_runtime.backends.engine_backend import EngineBackend
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import AlteredFileError, BackendNotAvailableError, EngineError
from ptp_runtime.manifest import EngineEntry, GraphEntry, TensorInfo

pytestmark = pytest.mark.runtime

PLAN = b"a plan"


class PretendDriver:
    """The driver's functions over host memory. Addresses are keys; asynchronous copies happen at once."""

    def __init__(self, devices: int = 1, init: int = 0) -> None:
        self.devices = devices
        self.init = init
        self.calls: list[str] = []
        self.memory: dict[int, Any] = {}
        self.fails: dict[str, int] = {}

    def _status(self, name: str) -> int:
        self.calls.append(name)
        return self.fails.get(name, 0)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)
        return lambda *arguments: self._status(name)

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's names
        return self.init

    def cuGetErrorName(self, status: int, out: Any) -> int:  # noqa: N802
        out._obj.value = b"CUDA_ERROR_PRETENDED"
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        out._obj.value = self.devices
        return 0

    def cuDeviceGetName(self, out: Any, length: int, device: Any) -> int:  # noqa: N802
        out.value = b"Pretend GPU"
        return 0

    def cuDeviceGetAttribute(self, out: Any, attribute: int, device: Any) -> int:  # noqa: N802
        out._obj.value = {75: 8, 76: 9}[attribute]
        return 0

    def cuStreamCreate(self, out: Any, flags: int) -> int:  # noqa: N802
        out._obj.value = 77
        return 0

    def cuMemAlloc_v2(self, out: Any, size: Any) -> int:  # noqa: N802
        status = self._status("cuMemAlloc_v2")
        if status == 0:
            block = ctypes.create_string_buffer(size.value)
            out._obj.value = ctypes.addressof(block)
            self.memory[out._obj.value] = block
        return status

    def cuMemFree_v2(self, address: Any) -> int:  # noqa: N802
        del self.memory[address.value]
        return self._status("cuMemFree_v2")

    def cuMemcpyHtoDAsync_v2(self, device: Any, host: Any, size: Any, stream: Any) -> int:  # noqa: N802
        assert len(self.memory[device.value]) >= size.value
        ctypes.memmove(device.value, host.value, size.value)
        return self._status("cuMemcpyHtoDAsync_v2")

    def cuMemcpyDtoHAsync_v2(self, host: Any, device: Any, size: Any, stream: Any) -> int:  # noqa: N802
        assert len(self.memory[device.value]) >= size.value
        ctypes.memmove(host.value, device.value, size.value)
        return self._status("cuMemcpyDtoHAsync_v2")


class PretendContext:
    """An execution context whose engine doubles ``x`` into ``y`` and takes at most 8 columns."""

    def __init__(self, driver: PretendDriver) -> None:
        self.driver = driver
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.dtype = "float32"
        self.fails = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[1] <= 8

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address in self.driver.memory

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 77
        size = int(np.prod(self.shape)) * 4
        source = np.frombuffer(ctypes.string_at(self.addresses["x"], size), self.dtype)
        ctypes.memmove(self.addresses["y"], (source * 2).tobytes(), size)
        return not self.fails


class PretendEngine:
    """Tensors x and y of float32."""

    def __init__(self, driver: PretendDriver, dtype: str = "float32", names: tuple[str, str] = ("x", "y")) -> None:
        self.num_io_tensors = 2
        self._dtype = dtype
        self._names = names
        self.context = PretendContext(driver)
        self.context.dtype = dtype

    def get_tensor_name(self, i: int) -> str:
        return self._names[i]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == self._names[0] else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return self._dtype

    def create_execution_context(self) -> Any:
        return self.context


def _library(engine: Any) -> Any:
    class Logger:
        ERROR = 1

        def __init__(self, severity: int) -> None:
            self.severity = severity

    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if plan == PLAN else None)
    return SimpleNamespace(
        __name__="tensorrt",
        __version__="10.13.0",
        Logger=Logger,
        Runtime=lambda logger: runtime,
        TensorIOMode=SimpleNamespace(INPUT="in"),
        nptype=lambda dtype: np.dtype(dtype),
    )


GRAPH = GraphEntry(
    "head",
    "head",
    "head.onnx",
    "ab" * 32,
    "fp32",
    (TensorInfo("x", "float32", (1, "n")),),
    (TensorInfo("y", "float32", (1, "n")),),
)
ENTRY = EngineEntry(
    "head.engine", "head", "head", "tensorrt", "fp32", hashlib.sha256(PLAN).hexdigest(), "10.13.0", (), {}
)


class _Folder(Bundle):
    """A bundle of one engine."""

    def engine(self, graph: str, target: str) -> EngineEntry | None:
        return self.entry if (graph, target) == ("head", "tensorrt") else None  # type: ignore[attr-defined,no-any-return]


def _bundle(folder: Path, plan: bytes = PLAN, entry: EngineEntry = ENTRY) -> Bundle:
    (folder / "head.engine").write_bytes(plan)
    bundle = object.__new__(_Folder)
    object.__setattr__(bundle, "path", folder)
    object.__setattr__(bundle, "entry", entry)
    return bundle


def _backend(driver: PretendDriver, engine: Any = None) -> EngineBackend:
    return EngineBackend("tensorrt", _library(engine or PretendEngine(driver)), Driver(driver))


def test_an_engine_runs_and_says_what_runs_it(tmp_path: Path) -> None:
    driver = PretendDriver()
    backend = _backend(driver)
    graph = backend.load(_bundle(tmp_path), GRAPH)

    result = graph.run({"x": np.array([[1, 2, 3]], np.float32)})

    assert result["y"].tolist() == [[2, 4, 6]]
    assert graph.provider == "tensorrt 10.13.0"
    assert driver.calls[-1] == "cuStreamSynchronize"
    assert backend.provider == "tensorrt 10.13.0 on Pretend GPU (8.9)"


def test_buffers_grow_and_are_kept(tmp_path: Path) -> None:
    driver = PretendDriver()
    graph = _backend(driver).load(_bundle(tmp_path), GRAPH)
    for length in (2, 8, 3):
        ones = np.ones((1, length), np.float32)
        assert graph.run({"x": ones})["y"].tolist() == [[2.0] * length]

    assert driver.calls.count("cuMemAlloc_v2") == 4, "two tensors, each allocated for 2 and once more for 8"
    graph.close()
    assert driver.memory == {}


def test_a_strided_input_arrives_in_order(tmp_path: Path) -> None:
    graph = _backend(PretendDriver()).load(_bundle(tmp_path), GRAPH)

    assert graph.run({"x": np.arange(8, dtype=np.float32)[None, ::2]})["y"].tolist() == [[0, 4, 8, 12]]


def test_a_shape_outside_the_profile_says_so(tmp_path: Path) -> None:
    driver = PretendDriver()
    graph = _backend(driver).load(_bundle(tmp_path), GRAPH)

    with pytest.raises(EngineError, match="does not take this shape"):
        graph.run({"x": np.ones((1, 9), np.float32)})

    assert driver.calls[-1] == "cuStreamSynchronize", "copies may still be under way"


def test_a_failed_execution_says_so(tmp_path: Path) -> None:
    driver = PretendDriver()
    engine = PretendEngine(driver)
    graph = _backend(driver, engine).load(_bundle(tmp_path), GRAPH)
    engine.context.fails = True

    with pytest.raises(EngineError, match="failed"):
        graph.run({"x": np.ones((1, 2), np.float32)})


def test_a_full_device_says_so(tmp_path: Path) -> None:
    driver = PretendDriver()
    graph = _backend(driver).load(_bundle(tmp_path), GRAPH)
    driver.fails["cuMemAlloc_v2"] = 2

    with pytest.raises(EngineError, match="cuMemAlloc_v2") as caught:
        graph.run({"x": np.ones((1, 2), np.float32)})

    assert caught.value.got == "CUDA_ERROR_PRETENDED"


def test_a_plan_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    entry = dataclasses.replace(ENTRY, sha256=hashlib.sha256(b"older plan").hexdigest(), built_with="10.12.0")

    with pytest.raises(EngineError, match=r"expected tensorrt 10\.12\.0") as caught:
        _backend(PretendDriver()).load(_bundle(tmp_path, b"older plan", entry), GRAPH)

    assert "--target tensorrt" in caught.value.hint


def test_a_changed_plan_never_reaches_the_library(tmp_path: Path) -> None:
    with pytest.raises(AlteredFileError, match=r"head\.engine"):
        _backend(PretendDriver()).load(_bundle(tmp_path, b"changed"), GRAPH)


def test_32_bit_integers_stand_for_16_bit_ones(tmp_path: Path) -> None:
    """TensorRT has no int16: the engine of a step gives the means as int32."""
    driver = PretendDriver()
    graph = dataclasses.replace(
        GRAPH, inputs=(TensorInfo("x", "int16", (1, "n")),), outputs=(TensorInfo("y", "int16", (1, "n")),)
    )
    loaded = _backend(driver, PretendEngine(driver, dtype="int32")).load(_bundle(tmp_path), graph)

    result = loaded.run({"x": np.array([[-1023, 1023]], np.int16)})["y"]

    assert result.dtype == np.int16
    assert result.tolist() == [[-2046, 2046]]


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"names": ("x", "z")}])
def test_an_engine_of_another_graph_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    driver = PretendDriver()

    with pytest.raises(EngineError, match="other inputs and outputs"):
        _backend(driver, PretendEngine(driver, **options)).load(_bundle(tmp_path), GRAPH)


def test_a_graph_without_an_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no tensorrt engine for the graph 'analysis'"):
        _backend(PretendDriver()).load(_bundle(tmp_path), dataclasses.replace(GRAPH, name="analysis"))


def test_no_device_is_a_typed_error() -> None:
    with pytest.raises(BackendNotAvailableError, match="no device"):
        _backend(PretendDriver(devices=0))


def test_a_driver_that_does_not_start_is_a_typed_error() -> None:
    with pytest.raises(BackendNotAvailableError, match="does not start"):
        Driver(PretendDriver(init=100))


def test_devices_have_names() -> None:
    assert device_names(PretendDriver(devices=2)) == ("Pretend GPU (8.9)", "Pretend GPU (8.9)")


def test_no_driver_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptp_runtime.backends.cuda_driver._LIBRARY", "libcuda-that-is-not-there.so")

    with pytest.raises(BackendNotAvailableError, match="no NVIDIA driver"):
        load_library()
