"""PyTorch eager as a backend of the runtime: the same session, coder and work, other networks underneath."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.graphs.interface import Graph
from ptp_export.interop.torch_graphs import TorchGraph
from ptp_model import checkpoint
from ptp_runtime.arithmetic import Arithmetic, cpu_arithmetic
from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import GraphEntry

Arrays = Mapping[str, npt.NDArray[Any]]


class EagerGraph:
    """One graph's torch module."""

    provider = "PyTorch eager"

    def __init__(self, graph: Graph, inputs: tuple[str, ...]) -> None:
        self.module = graph.module
        self.outputs = tuple(spec.name for spec in graph.outputs)
        declared = {spec.name for spec in graph.inputs}
        self.inputs = tuple(name for name in inputs if name in declared)
        self.all_inputs = tuple(spec.name for spec in graph.inputs)

    @torch.inference_mode()
    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        given = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()}
        # A step that does not read a tensor lacks it as an ONNX input; the module still has the argument.
        anything = next(iter(given.values()))
        result = self.module(*(given.get(name, anything) for name in self.all_inputs))
        values = result if isinstance(result, tuple) else (result,)
        return {name: value.numpy() for name, value in zip(self.outputs, values, strict=True)}

    def close(self) -> None:
        return None


class InterpretedGraph:
    """One integer graph of the entropy path, its file read by torch: the checkpoint has no such network."""

    provider = "PyTorch eager"

    def __init__(self, data: bytes) -> None:
        self._graph = TorchGraph(onnx.load_from_string(data))

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self._graph.run(inputs)

    def close(self) -> None:
        return None


class EagerBackend:
    """Serves a bundle's graphs from the checkpoint it was exported from."""

    name = "torch"
    provider = "PyTorch eager"

    def __init__(self, source: str, task: str) -> None:
        loaded = checkpoint.load(source)
        model = loaded.tasks[task]
        graphs = graphs_from_model(loaded.codec, task, model.prompts, model.teacher)
        self.graphs = {graph.name: graph for graph in graphs}

    @property
    def arithmetic(self) -> Arithmetic:
        return cpu_arithmetic("torch eager", f"torch {torch.__version__}", torch.get_num_threads())

    def load(self, bundle: Bundle, graph: GraphEntry) -> EagerGraph | InterpretedGraph:
        if graph.precision == "integer":
            return InterpretedGraph(bundle.read(graph))
        return EagerGraph(self.graphs[graph.name], tuple(spec.name for spec in graph.inputs))
