"""ONNX Runtime as a backend of the entropy graphs, at every optimisation level. The exporter's one import of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from ptp_export.interop.configurations.configuration import (
    Arrays,
    Configuration,
    EntropyFiles,
    OpenedGraphs,
    WithCompanion,
    with_free_batch,
)
from ptp_runtime.backends import Graph
from ptp_runtime.errors import BackendNotAvailableError, EngineError

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class OnnxRuntimeSettings:
    """How ONNX Runtime runs the graphs.

    Attributes:
        device: ``cpu`` or ``cuda``.
        level: of graph optimisation, a key of :data:`LEVELS`.
        threads: inside one operator, on the CPU.
        batch: 1, or 2 (see :class:`~ptp_export.interop.configurations.configuration.WithCompanion`).
        tf32: let CUDA round FP32 operands to 11 bits.
    """

    device: str = "cpu"
    level: str = "all"
    threads: int = 2
    batch: int = 1
    tf32: bool = False


def onnxruntime_configuration(name: str, settings: OnnxRuntimeSettings) -> Configuration:
    """A configuration of ONNX Runtime."""
    return Configuration(name, lambda files: open_onnxruntime(files, settings))


def open_onnxruntime(files: EntropyFiles, settings: OnnxRuntimeSettings) -> OpenedGraphs:
    """Load the graphs.

    Raises:
        BackendNotAvailableError: this build lacks the provider, or ran the graphs on another one.
        EngineError: a graph does not load.
    """
    wanted = _PROVIDERS[settings.device]
    if wanted not in ort.get_available_providers():
        raise BackendNotAvailableError(
            f"this ONNX Runtime has no {wanted}",
            expected=wanted,
            got=", ".join(ort.get_available_providers()),
            hint="install onnxruntime-gpu instead of onnxruntime",
        )
    models = files.models
    if settings.batch == 2:
        models = {name: with_free_batch(model) for name, model in models.items()}
    opened = {name: _OnnxRuntimeRun(name, model.SerializeToString(), settings) for name, model in models.items()}
    (providers,) = {graph.providers for graph in opened.values()}
    graphs: dict[str, Graph] = dict(opened)
    if settings.batch == 2:
        graphs = {name: WithCompanion(graph) for name, graph in graphs.items()}
    return OpenedGraphs(
        f"ONNX Runtime {ort.__version__} {', '.join(providers)}",
        ("onnxruntime", ort.__version__, providers, settings),
        graphs,
    )


class _OnnxRuntimeRun:
    """One graph as the runtime drives it (:class:`~ptp_runtime.backends.Graph`)."""

    def __init__(self, name: str, model: bytes, settings: OnnxRuntimeSettings) -> None:
        wanted = _PROVIDERS[settings.device]
        options = ort.SessionOptions()
        options.graph_optimization_level = LEVELS[settings.level]
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        tf32 = {"use_tf32": str(int(settings.tf32))}
        chosen: list[Any] = [(wanted, tf32)] if settings.device == "cuda" else [wanted]
        try:
            self._session = ort.InferenceSession(model, options, providers=chosen)
        except Exception as error:  # onnxruntime's exceptions share no base class but this
            raise EngineError(f"ONNX Runtime cannot load the graph {name!r}", got=_first_line(error)) from error
        self._session.disable_fallback()
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        if self.providers[:1] != (wanted,):
            raise BackendNotAvailableError(
                f"ONNX Runtime did not take {wanted} for the graph {name!r}",
                expected=wanted,
                got=", ".join(self.providers),
                hint="check the driver, CUDA and cuDNN with `ptp doctor`",
            )
        self._name = name
        self._outputs = [output.name for output in self._session.get_outputs()]

    @property
    def provider(self) -> str:
        """See the protocol."""
        return self.providers[0]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See the protocol."""
        try:
            values = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed on the graph {self._name!r}", got=_first_line(error)) from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """See the protocol."""
        del self._session


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
