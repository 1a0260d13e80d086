"""Running one compiled engine. TensorRT and TensorRT for RTX share this interface; neither is imported here.

Unseen on a GPU so far: written against the documentation of TensorRT 10.12+/11 and RTX 1.x, tested with a library
and a driver that pretend. Strongly typed engines only: there is no precision to choose at run time.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends.cuda_driver import Device, DeviceBuffer, PinnedBuffer
from ptp_runtime.backends.graph_capture import CapturedRuns
from ptp_runtime.backends.protocol import Arrays, DeviceArrays, DeviceTensor
from ptp_runtime.engines.diagnosis import rebuild_hint
from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import EngineEntry, GraphEntry
from ptp_runtime.stopwatch import is_observed, observed


class EngineGraph:
    """An engine with an execution context, and buffers on both sides that are kept between runs.

    Its kernels are started as one CUDA graph from the second or third run of a shape on.

    Args:
        library: the module ``tensorrt`` or ``tensorrt_rtx``.
        engine: from its plan, see :class:`~ptp_runtime.backends.engine_library.EngineLibrary`.
        entry: its entry in the manifest.
        graph: the graph it stands for.
        device: where it runs.
        proof: what is known of its precision, for people.

    Raises:
        EngineError: the engine is not the graph's, or gets no memory.
    """

    def __init__(
        self, library: Any, engine: Any, entry: EngineEntry, graph: GraphEntry, device: Device, proof: str
    ) -> None:
        self.proof = proof
        self._name = graph.name
        self._device = device
        self._provider = f"{library.__name__} {library.__version__}"
        self._rebuild = rebuild_hint()
        # An execution context holds the shapes and addresses of one run at a time.
        self._lock = threading.Lock()
        device.make_current()
        self._engine = engine
        self._dtypes = self._tensors(library, graph, entry)
        self._results = {tensor.name: np.dtype(tensor.dtype) for tensor in graph.outputs}
        self._context, records = _context(library, self._engine)
        if self._context is None:
            raise EngineError(f"the engine {entry.file} gets no execution context", hint="free memory on the device")
        self._buffers = {name: DeviceBuffer(device) for name in self._dtypes}
        self._pinned = {name: PinnedBuffer(device) for name in self._dtypes}
        self._runs = CapturedRuns(device, self._enqueue, records=records)

    def _tensors(self, library: Any, graph: GraphEntry, entry: EngineEntry) -> dict[str, np.dtype[Any]]:
        """The engine's dtype of each tensor by name; its inputs and outputs must be the manifest's, dtypes included.

        TensorRT has no 16-bit integers: where the manifest says int16, the engine gives the same values as int32.
        """
        found: dict[tuple[str, str], np.dtype[Any]] = {}
        for i in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(i)
            mode = "input" if self._engine.get_tensor_mode(name) == library.TensorIOMode.INPUT else "output"
            found[mode, name] = np.dtype(library.nptype(self._engine.get_tensor_dtype(name)))
        wanted = {("input", t.name): np.dtype(t.dtype) for t in graph.inputs}
        wanted |= {("output", t.name): np.dtype(t.dtype) for t in graph.outputs}
        if {key: _widened(dtype) for key, dtype in found.items()} != {key: _widened(d) for key, d in wanted.items()}:
            raise EngineError(
                f"the engine {entry.file} has other inputs and outputs than the graph {graph.name!r}",
                expected=_listing(wanted),
                got=_listing(found),
                hint=self._rebuild,
            )
        self._inputs = [t.name for t in graph.inputs]
        self._outputs = [t.name for t in graph.outputs]
        return {name: dtype for (_, name), dtype in found.items()}

    @property
    def provider(self) -> str:
        """Library and version."""
        return self._provider

    @contextmanager
    def held(self) -> Iterator[None]:
        """See :class:`~ptp_runtime.backends.protocol.DeviceGraph`."""
        with self._lock:
            self._device.make_current()
            yield

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.protocol.Graph`."""
        with self.held():
            try:
                found = self.run_on_device({name: inputs[name] for name in self._inputs})
                with observed("copies"):
                    arrays = {name: self._pinned[name].view(t.shape, t.dtype) for name, t in found.items()}
                    for name, array in arrays.items():
                        self._device.download(found[name].address, array)
                    self._await_if_watched()
            finally:
                # Until then the copies may still be under way, also those of a run that failed.
                self._device.synchronize()
            # Out of the memory that the next run's copies will take.
            return {name: np.array(array, self._results[name]) for name, array in arrays.items()}

    def run_on_device(self, inputs: DeviceArrays) -> dict[str, DeviceTensor]:
        """See :class:`~ptp_runtime.backends.protocol.DeviceGraph`."""
        addresses: dict[str, int] = {}
        with observed("copies"):
            for name in self._inputs:
                tensor = inputs[name]
                if not self._context.set_input_shape(name, tuple(tensor.shape)):
                    raise EngineError(
                        f"the engine of the graph {self._name!r} does not take this shape",
                        expected=f"{name} inside the engine's profile",
                        got=f"{tuple(tensor.shape)}",
                        hint="see `ptp inspect BUNDLE` for the sizes, or use --backend cpu",
                    )
                addresses[name] = self._on_device(name, tensor)
            self._await_if_watched()
        outputs = {name: self._output(name) for name in self._outputs}
        addresses |= {name: tensor.address for name, tensor in outputs.items()}
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise EngineError(f"the engine of the graph {self._name!r} refused the memory of {name!r}")
        shapes = tuple(tuple(inputs[name].shape) for name in self._inputs)
        if not self._runs.run((shapes, tuple(addresses.values()))):
            raise EngineError(f"the engine of the graph {self._name!r} failed", hint=self._rebuild)
        self._await_if_watched()
        return outputs

    def _enqueue(self) -> bool:
        return bool(self._context.execute_async_v3(self._device.stream))

    def _on_device(self, name: str, tensor: DeviceTensor | npt.NDArray[Any]) -> int:
        """The address of an input, copied there first if the host has it."""
        wanted = self._dtypes[name]
        if isinstance(tensor, DeviceTensor):
            if tensor.dtype != wanted:
                raise EngineError(
                    f"the engine of the graph {self._name!r} takes another {name!r}",
                    expected=str(wanted),
                    got=str(tensor.dtype),
                    hint=self._rebuild,
                )
            return tensor.address
        staged = self._pinned[name].view(tensor.shape, wanted)
        np.copyto(staged, tensor, casting="unsafe")
        self._buffers[name].upload(staged)
        return self._buffers[name].address

    def _await_if_watched(self) -> None:
        """Copies and kernels are asynchronous: whoever times them apart has to wait between them."""
        if is_observed():
            self._device.synchronize()

    def _output(self, name: str) -> DeviceTensor:
        shape = tuple(int(n) for n in self._context.get_tensor_shape(name))
        if any(n < 0 for n in shape):
            raise EngineError(
                f"the shape of the output {name!r} of the graph {self._name!r} is not known before it runs",
                got=f"{shape}",
                hint=self._rebuild,
            )
        dtype = self._dtypes[name]
        return DeviceTensor(self._buffers[name].reserve(math.prod(shape) * dtype.itemsize), shape, dtype)

    def close(self) -> None:
        """Free the device memory, then the context before its engine."""
        with self.held():
            self._runs.forget()
            for name in self._dtypes:
                self._buffers[name].free()
                self._pinned[name].free()
            del self._runs
            del self._context
            del self._engine


def _context(library: Any, engine: Any) -> tuple[Any, bool]:
    """An execution context, and whether its kernels are to be recorded here: TensorRT for RTX does that itself."""
    strategies = getattr(library, "CudaGraphStrategy", None)
    if strategies is None:
        return engine.create_execution_context(), True
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(runtime_config=config), False


def _widened(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.int32) if dtype == np.int16 else dtype


def _listing(tensors: dict[tuple[str, str], np.dtype[Any]]) -> str:
    return ", ".join(f"{mode} {name} {dtype}" for (mode, name), dtype in sorted(tensors.items()))
