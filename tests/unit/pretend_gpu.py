"""A CUDA driver and a TensorRT that pretend, for tests of what is ours: calls, sizes, names and failures."""

from __future__ import annotations

import ctypes
import hashlib
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import EngineEntry, GraphEntry, TensorInfo

PLAN = b"a plan"


class PretendDriver:
    """The driver's functions over host memory. Addresses are keys; asynchronous copies happen at once."""

    def __init__(self, devices: int = 1, init: int = 0) -> None:
        self.devices = devices
        self.init = init
        self.calls: list[str] = []
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.fails: dict[str, int] = {}
        self.capturing = False
        self.recorded: list[Any] = []

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

    def cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802
        out._obj.value = 13010
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

    def cuMemHostAlloc(self, out: Any, size: Any, flags: int) -> int:  # noqa: N802
        block = ctypes.create_string_buffer(size.value)
        out._obj.value = ctypes.addressof(block)
        self.pinned[out._obj.value] = block
        return self._status("cuMemHostAlloc")

    def cuMemFreeHost(self, address: Any) -> int:  # noqa: N802
        del self.pinned[address.value]
        return self._status("cuMemFreeHost")

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:  # noqa: N802
        status = self._status("cuStreamBeginCapture_v2")
        self.capturing, self.recorded = status == 0, []
        return status

    def cuStreamEndCapture(self, stream: Any, out: Any) -> int:  # noqa: N802
        self.capturing, out._obj.value = False, 11
        return self._status("cuStreamEndCapture")

    def cuGraphInstantiateWithFlags(self, out: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        status = self._status("cuGraphInstantiateWithFlags")
        out._obj.value = None if status else 12
        return status

    def cuGraphLaunch(self, recording: Any, stream: Any) -> int:  # noqa: N802
        for work in self.recorded:
            work()
        return self._status("cuGraphLaunch")

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
        self.driver.calls.append("execute_async_v3")
        work = partial(self._work, int(np.prod(self.shape)) * 4, dict(self.addresses))
        self.driver.recorded.append(work) if self.driver.capturing else work()
        return not self.fails

    def _work(self, size: int, addresses: dict[str, int]) -> None:
        source = np.frombuffer(ctypes.string_at(addresses["x"], size), self.dtype)
        ctypes.memmove(addresses["y"], (source * 2).tobytes(), size)


class PretendEngine:
    """Tensors x and y of float32."""

    def __init__(self, driver: PretendDriver, dtype: str = "float32", names: tuple[str, str] = ("x", "y")) -> None:
        self.num_io_tensors = 2
        self._dtype = dtype
        self._names = names
        self.context = PretendContext(driver)
        self.layers: list[Any] = []
        self.inspections = 0
        self.context.dtype = dtype
        self.configs: list[Any] = []

    def get_tensor_name(self, i: int) -> str:
        return self._names[i]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == self._names[0] else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return self._dtype

    def create_runtime_config(self) -> Any:
        return SimpleNamespace(cuda_graph_strategy="DISABLED")

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        self.configs.append(runtime_config)
        return self.context

    def create_engine_inspector(self) -> Any:
        self.inspections += 1
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": self.layers}))


class PretendLogger:
    """What a library's ``ILogger`` is: its library calls ``log``."""

    INTERNAL_ERROR, ERROR, WARNING = 0, 1, 2


def pretend_library(engine: Any, says: str = "", capabilities: tuple[str, ...] = ()) -> Any:
    """A module like ``tensorrt``.

    Args:
        engine: what :data:`PLAN` becomes; any other plan gives none.
        says: the line that the library logs when it gives no engine.
        capabilities: of its enumeration ``ComputeCapability``, such as ``SM89``; none: it has no such thing.
    """
    loggers: list[Any] = []

    def deserialize(plan: bytes) -> Any:
        if plan == PLAN:
            return engine
        if says:
            loggers[0].log(PretendLogger.WARNING, "something harmless")
            loggers[0].log(PretendLogger.ERROR, says)
        return None

    def runtime(logger: Any) -> Any:
        loggers.append(logger)
        return SimpleNamespace(deserialize_cuda_engine=deserialize)

    optional = {"ComputeCapability": SimpleNamespace(**{name: name for name in ("NONE", *capabilities)})}
    return SimpleNamespace(
        __name__="tensorrt",
        __version__="10.13.0",
        ILogger=PretendLogger,
        Runtime=runtime,
        TensorIOMode=SimpleNamespace(INPUT="in"),
        LayerInformationFormat=SimpleNamespace(JSON="json"),
        nptype=lambda dtype: np.dtype(dtype),
        **(optional if capabilities else {}),
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


def one_engine_bundle(folder: Path, plan: bytes = PLAN, entry: EngineEntry = ENTRY) -> Bundle:
    """A bundle of the engine alone, whose file holds ``plan``."""
    (folder / "head.engine").write_bytes(plan)
    bundle = object.__new__(_Folder)
    object.__setattr__(bundle, "path", folder)
    object.__setattr__(bundle, "entry", entry)
    return bundle
