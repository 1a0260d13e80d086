"""Running one compiled engine. TensorRT and TensorRT for RTX share this interface; neither is imported here.

Unseen on a GPU so far: written against the documentation of TensorRT 10.12+/11 and RTX 1.x, tested with a library
and a driver that pretend. Strongly typed engines only: there is no precision to choose at run time.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends.cuda_driver import Device, DeviceBuffer, empty
from ptp_runtime.backends.protocol import Arrays
from ptp_runtime.engines.diagnosis import rebuild_hint
from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import EngineEntry, GraphEntry
from ptp_runtime.stopwatch import is_observed, observed


class EngineGraph:
    """An engine with an execution context and device buffers that are kept between runs.

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
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"the engine {entry.file} gets no execution context", hint="free memory on the device")
        self._buffers = {name: DeviceBuffer(device) for name in self._dtypes}

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

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.protocol.Graph`."""
        with self._lock:
            self._device.make_current()
            # Kept by name until the end: the copies are asynchronous.
            host = {name: np.ascontiguousarray(inputs[name], self._dtypes[name]) for name in self._inputs}
            try:
                results = self._enqueue(host)
            finally:
                self._device.synchronize()
        return {name: array.astype(self._results[name], copy=False) for name, array in results.items()}

    def _enqueue(self, host: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Copies and kernels on the stream; the arrays are valid once it is synchronised."""
        with observed("copies"):
            for name, array in host.items():
                if not self._context.set_input_shape(name, tuple(array.shape)):
                    raise EngineError(
                        f"the engine of the graph {self._name!r} does not take this shape",
                        expected=f"{name} inside the engine's profile",
                        got=f"{array.shape}",
                        hint="see `ptp inspect BUNDLE` for the sizes, or use --backend cpu",
                    )
                self._buffers[name].upload(array)
            self._await_if_watched()
        results = {name: self._output(name) for name in self._outputs}
        for name in self._dtypes:
            if not self._context.set_tensor_address(name, self._buffers[name].address):
                raise EngineError(f"the engine of the graph {self._name!r} refused the memory of {name!r}")
        if not self._context.execute_async_v3(self._device.stream):
            raise EngineError(f"the engine of the graph {self._name!r} failed", hint=self._rebuild)
        self._await_if_watched()
        with observed("copies"):
            for name, array in results.items():
                self._buffers[name].download(array)
            self._await_if_watched()
        return results

    def _await_if_watched(self) -> None:
        """Copies and kernels are asynchronous: whoever times them apart has to wait between them."""
        if is_observed():
            self._device.synchronize()

    def _output(self, name: str) -> npt.NDArray[Any]:
        shape = tuple(int(n) for n in self._context.get_tensor_shape(name))
        if any(n < 0 for n in shape):
            raise EngineError(
                f"the shape of the output {name!r} of the graph {self._name!r} is not known before it runs",
                got=f"{shape}",
                hint=self._rebuild,
            )
        array = empty(shape, self._dtypes[name])
        self._buffers[name].reserve(array.nbytes)
        return array

    def close(self) -> None:
        """Free the device memory, then the context before its engine."""
        with self._lock:
            self._device.make_current()
            for buffer in self._buffers.values():
                buffer.free()
            del self._context
            del self._engine


def _widened(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.int32) if dtype == np.int16 else dtype


def _listing(tensors: dict[tuple[str, str], np.dtype[Any]]) -> str:
    return ", ".join(f"{mode} {name} {dtype}" for (mode, name), dtype in sorted(tensors.items()))
