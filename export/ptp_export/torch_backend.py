"""PyTorch as a backend of the runtime: the same session, coder and work, other networks underneath.

What ``ptp profile --against torch`` and the benchmarks measure beside: the checkpoint's own modules in FP32, and of an
integer entropy path, which no checkpoint has, the bundle's graphs read by torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn
from torch._dynamo import config as dynamo_config

from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.graphs.interface import Graph
from ptp_export.interop.torch_graphs import TorchGraph
from ptp_export.oracle.checkpoint_task import load_task
from ptp_export.stored_model import with_defaults
from ptp_runtime.arithmetic import Arithmetic, cpu_arithmetic
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError, CheckpointError, EngineError
from ptp_runtime.manifest import GraphEntry

Arrays = Mapping[str, npt.NDArray[Any]]


class TorchModuleGraph:
    """One graph's torch module.

    Args:
        graph: as the exporter cuts it.
        compiled: by TorchInductor, for the size at hand.
    """

    def __init__(self, graph: Graph, compiled: bool) -> None:
        self._name = graph.name
        self._forward: Callable[..., Any] = _compiled(graph.module) if compiled else graph.module
        self._outputs = tuple(spec.name for spec in graph.outputs)
        self._inputs = tuple(spec.name for spec in graph.inputs)
        self.provider = _provider(compiled)

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.Graph`."""
        given = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()}
        # A step that does not read a tensor lacks it as an ONNX input; the module still has the argument.
        anything = next(iter(given.values()))
        try:
            with torch.inference_mode():
                result = self._forward(*(given.get(name, anything) for name in self._inputs))
        except RuntimeError as error:
            raise EngineError(f"torch failed on the graph {self._name!r}", got=str(error).partition("\n")[0]) from error
        values = result if isinstance(result, tuple) else (result,)
        return {name: value.numpy() for name, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """See :class:`~ptp_runtime.backends.Graph`; torch frees by itself."""


class TorchFileGraph:
    """One integer graph of the entropy path, its file read by torch.

    Args:
        data: the ONNX file.
        compiled: see :class:`TorchModuleGraph`.
    """

    def __init__(self, data: bytes, compiled: bool) -> None:
        self._graph = TorchGraph(with_defaults(onnx.load_from_string(data)))
        self._forward: Callable[..., Any] = _compiled(self._graph) if compiled else self._graph
        self.provider = _provider(compiled)

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.Graph`."""
        arrays = (np.require(inputs[name], requirements=["C", "W"]) for name in self._graph.input_names)
        with torch.inference_mode(), dynamo_config.patch(recompile_limit=1024, accumulated_recompile_limit=4096):
            values = self._forward(*(torch.from_numpy(array) for array in arrays))
        return {
            name: np.ascontiguousarray(value.numpy())
            for name, value in zip(self._graph.output_names, values, strict=True)
        }

    def close(self) -> None:
        """See :class:`~ptp_runtime.backends.Graph`; torch frees by itself."""


class EagerBackend:
    """Serves a bundle's graphs from the checkpoint it was exported from.

    Args:
        source: ``demo``, or the checkpoint's directory.
        task: of the bundle.
        compiled: by TorchInductor instead of eagerly.

    Raises:
        CheckpointError, TaskNotAvailableError: see :func:`~ptp_export.oracle.checkpoint_task.load_task`.
        BackendNotAvailableError: no compiler for what TorchInductor writes.
    """

    name = "torch"

    def __init__(self, source: str, task: str, compiled: bool = False) -> None:
        if compiled and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise BackendNotAvailableError("no C++ compiler for torch.compile", hint="install g++")
        loaded = load_task(source, task)
        self.digest = loaded.digest
        self.provider = _provider(compiled)
        self._compiled = compiled
        chain = loaded.chain
        self._graphs = {g.name: g for g in graphs_from_model(chain.codec, task, chain.prompts, chain.teacher)}

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`~ptp_runtime.backends.Backend`."""
        kind = "torch compiled" if self._compiled else "torch eager"
        return cpu_arithmetic(kind, f"torch {torch.__version__}", torch.get_num_threads())

    def load(self, bundle: Bundle, graph: GraphEntry) -> TorchModuleGraph | TorchFileGraph:
        """See :class:`~ptp_runtime.backends.Backend`."""
        if graph.precision == "integer":
            return TorchFileGraph(bundle.read(graph), self._compiled)
        return TorchModuleGraph(self._graphs[graph.name], self._compiled)


def open_rival(bundle: Bundle, checkpoint: str, threads: int | None, compiled: bool) -> EagerBackend:
    """The entry point ``torch`` of ``ptp.profile_rivals`` (:mod:`ptp_runtime.profiling.rivals`).

    Raises:
        CheckpointError: the bundle was exported from other weights; or the checkpoint cannot be read.
        TaskNotAvailableError, BackendNotAvailableError: see :class:`EagerBackend`.
    """
    backend = EagerBackend(checkpoint, bundle.manifest.task.name, compiled)
    if backend.digest != bundle.manifest.model.checkpoint_sha256:
        raise CheckpointError(
            "the bundle was exported from another checkpoint",
            expected=f"SHA-256 {bundle.manifest.model.checkpoint_sha256[:16]}…",
            got=f"{backend.digest[:16]}… ({checkpoint})",
            hint="name the right one with --checkpoint",
        )
    if threads is not None:
        torch.set_num_threads(threads)
    return backend


def _provider(compiled: bool) -> str:
    kind = "TorchInductor" if compiled else "eager"
    return f"PyTorch {torch.__version__} {kind}, {torch.get_num_threads()} threads"


def _compiled(module: nn.Module) -> Callable[..., Any]:
    function: Callable[..., Any] = torch.compile(module)
    return function
