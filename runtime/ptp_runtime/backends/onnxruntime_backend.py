"""ONNX Runtime on the CPU (the embedded default) or an NVIDIA device. The only file that imports onnxruntime."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime as ort

from ptp_runtime.arithmetic import Arithmetic, cpu_arithmetic
from ptp_runtime.backends.onnxruntime_profile import layers_from_profile
from ptp_runtime.backends.onnxruntime_providers import LABELS, PROVIDERS, provider_options
from ptp_runtime.backends.protocol import Arrays, LayerTime
from ptp_runtime.bitstream.varint import put_varint
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError, EngineError
from ptp_runtime.manifest import GraphEntry, TensorInfo

_ERRORS_ONLY = 3

_log = logging.getLogger(__name__)


def available_providers() -> list[str]:
    """The execution providers that this build of ONNX Runtime has; whether they work shows when a graph is loaded."""
    return list(ort.get_available_providers())


@cache
def _share_memory() -> None:
    """One pool of memory for the graphs of this process, of which one runs at a time in a session anyway.

    With a pool for each graph, which is what ONNX Runtime does by itself, every graph keeps the most that it ever took,
    and each pool grows by doubling. Sharing one halves the memory of a session, at the same speed. The pool belongs to
    ONNX Runtime's environment, of which a process has one; other sessions in the process use it only if they ask for
    it. It keeps what the largest photo took: giving it back after each took a quarter more time.
    """
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_requested = {
        "max_mem": 0,
        "arena_extend_strategy": 1,
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    try:
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg(as_requested))
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class but this
        _log.info("the process has a pool of memory for ONNX Runtime already, which is used: %s", _first_line(error))


class OnnxRuntimeBackend:
    """Runs the bundle's ONNX files.

    Args:
        device: one of :data:`~ptp_runtime.backends.onnxruntime_providers.PROVIDERS`.
        threads: threads inside one operator on the CPU, at least 1.

    Raises:
        BackendNotAvailableError: this build of ONNX Runtime has no such provider.
    """

    def __init__(self, device: str, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._wanted = PROVIDERS[device]
        present = available_providers()
        if self._wanted not in present:
            raise BackendNotAvailableError(
                f"this ONNX Runtime has no {self._wanted}",
                expected=f"a build with {self._wanted}",
                got=", ".join(present),
                hint="pip install 'ptp-deploy[gpu]' after removing onnxruntime, or choose --backend cpu",
            )
        if device != "cpu" and hasattr(ort, "preload_dlls"):
            # CUDA and cuDNN from their own wheels are not on the loader's path.
            ort.preload_dlls()

    @property
    def name(self) -> str:
        """``cpu``, ``cuda``, ``ort-tensorrt`` or ``ort-tensorrt-rtx``."""
        return self._device

    @property
    def provider(self) -> str:
        """For people: library, version, device."""
        on = (
            f"CPU, {self._threads} thread{'s' * (self._threads > 1)}" if self._device == "cpu" else LABELS[self._device]
        )
        return f"ONNX Runtime {ort.__version__} ({on})"

    def load(self, bundle: Bundle, graph: GraphEntry) -> OnnxRuntimeGraph:
        """See :class:`~ptp_runtime.backends.protocol.Backend`."""
        return OnnxRuntimeGraph(bundle.read(graph), graph, self._device, self._threads)

    @property
    def arithmetic(self) -> Arithmetic:
        """Provider, version and CPU. The threads count: they divide some convolutions along the sum."""
        return cpu_arithmetic(self._wanted, f"onnxruntime {ort.__version__}", self._threads)

    def load_layers(self, bundle: Bundle, graph: GraphEntry, layers: Sequence[str]) -> OnnxRuntimeGraph:
        """See :class:`~ptp_runtime.backends.protocol.LayerBackend`."""
        shown = replace(graph, outputs=(*graph.outputs, *(TensorInfo(name, "float32", ()) for name in layers)))
        return OnnxRuntimeGraph(model_with_outputs(bundle.read(graph), layers), shown, self._device, self._threads)

    def layer_times(self, bundle: Bundle, graph: GraphEntry, inputs: Arrays, runs: int) -> Sequence[LayerTime]:
        """See :class:`~ptp_runtime.backends.protocol.TimingBackend`."""
        with tempfile.TemporaryDirectory(prefix="ptp-layers-") as folder:
            prefix = str(Path(folder) / "layers")
            loaded = OnnxRuntimeGraph(bundle.read(graph), graph, self._device, self._threads, profile_prefix=prefix)
            for _ in range(runs + 1):
                loaded.run(inputs)
            text = loaded.end_profiling()
            loaded.close()
        return layers_from_profile(text, runs)


def model_with_outputs(model: bytes, names: Iterable[str]) -> bytes:
    """An ONNX file whose graph also gives some of its inner tensors.

    Protobuf joins the repeated fields of two messages whose bytes stand behind one another. So what is appended is a
    ModelProto that holds nothing but ``graph.output``: field 7 of a model, 12 of a graph, 1 (the name) of a value.

    Args:
        model: the file.
        names: of tensors that are not outputs yet.
    """

    def field(number: int, content: bytes) -> bytes:
        return put_varint(number << 3 | 2) + put_varint(len(content)) + content

    return model + field(7, b"".join(field(12, field(1, name.encode())) for name in names))


class OnnxRuntimeGraph:
    """One ONNX file in a session of its own.

    Args:
        model: the file's bytes.
        graph: its entry in the manifest, whose inputs and outputs must be the file's.
        device: see :class:`OnnxRuntimeBackend`; its execution provider must really be in charge.
        threads: see :class:`OnnxRuntimeBackend`.
        profile_prefix: how the path of ONNX Runtime's own profile begins; empty: none is written.
    """

    def __init__(self, model: bytes, graph: GraphEntry, device: str, threads: int, profile_prefix: str = "") -> None:
        self._name = graph.name
        self._outputs = [tensor.name for tensor in graph.outputs]
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERRORS_ONLY
        if profile_prefix:
            options.enable_profiling, options.profile_file_prefix = True, profile_prefix
        # Twenty small sessions whose idle threads spin take the cores from the one that works: 2.7 to 6 times slower.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # A plan of all tensors of a size in one block, made at its second photo, while the first one's memory is kept.
        options.enable_mem_pattern = False
        if graph.precision == "int8":
            # Without VNNI, AVX2's products of two 8-bit factors saturate in 16 bits; this asks for those that do not.
            options.add_session_config_entry("session.x64quantprecision", "1")
        provider = PROVIDERS[device]
        try:
            self._session = ort.InferenceSession(model, options, providers=provider_options(device, graph))
        except Exception as error:  # onnxruntime's exceptions share no base class but this
            raise EngineError(
                f"ONNX Runtime cannot load the graph {graph.name!r}",
                got=_first_line(error),
                hint="update onnxruntime, or export the bundle again",
            ) from error
        # ONNX Runtime turns to the CPU with nothing but a warning when CUDA's libraries do not load.
        self._session.disable_fallback()
        actual = self._session.get_providers()
        if not actual or actual[0] != provider:
            raise BackendNotAvailableError(
                f"ONNX Runtime did not take {provider} for the graph {graph.name!r}",
                expected=provider,
                got=", ".join(actual),
                hint="check the driver, CUDA and cuDNN with `ptp doctor`, or choose --backend cpu",
            )
        self._provider: str = actual[0]
        self._check_names(graph)

    def _check_names(self, graph: GraphEntry) -> None:
        for kind, listed, found in (
            ("inputs", graph.inputs, self._session.get_inputs()),
            ("outputs", graph.outputs, self._session.get_outputs()),
        ):
            wanted, actual = [tensor.name for tensor in listed], [tensor.name for tensor in found]
            if sorted(wanted) != sorted(actual):
                raise EngineError(
                    f"the graph {graph.name!r} has other {kind} than its manifest says",
                    expected=", ".join(wanted),
                    got=", ".join(actual),
                    hint="export the bundle again",
                )

    @property
    def provider(self) -> str:
        """The execution provider in charge."""
        return self._provider

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.protocol.Graph`."""
        try:
            values = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # as above
            shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
            raise EngineError(
                f"the graph {self._name!r} failed on {shapes}",
                got=_first_line(error),
                hint="check the size of the image against `ptp inspect BUNDLE`, and the free memory",
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def end_profiling(self) -> str:
        """What ONNX Runtime's profiler wrote, of a graph that was loaded with a ``profile_prefix``."""
        return Path(self._session.end_profiling()).read_text(encoding="utf-8")

    def close(self) -> None:
        """Drop the session."""
        del self._session


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
