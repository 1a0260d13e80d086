"""ONNX from a graph: torch's dynamo exporter, then passes until the file is clean, complete and reproducible."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import Dim

from ptp_export.graphs.interface import Graph
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.onnx_passes.declare_interface import DeclareInterface
from ptp_export.onnx_passes.drop_unused_inputs import DropUnusedInputs
from ptp_export.onnx_passes.fold_constants import FoldConstants
from ptp_export.onnx_passes.graph_pass import producers
from ptp_export.onnx_passes.strip_metadata import StripMetadata
from ptp_export.onnx_passes.write_initializers import WriteInitializers
from ptp_export.sizes import MAX_SIDE, Size
from ptp_export.tensor_spec import factor_and_symbol
from ptp_runtime.errors import ExportError

#: Highest opset whose every operator TensorRT-RTX 1.7 parses; 23's Attention is not among them.
OPSET = 20
#: The photo a dynamic graph is traced with: sides, blocks and feature sizes are all different, and none is 0 or 1.
TRACE_SIZE = Size(140, 200)

_TEMPLATE_SEED = 20241


def onnx_from_graph(graph: Graph, size: Size | None = None) -> OnnxGraph:
    """Export one graph.

    Args:
        graph: the module and its interface.
        size: photo size of a static export; None leaves height and width free.

    Raises:
        ExportError: the exporter failed, a task-prompt parameter is missing in its result, or the file does not pass
            ``onnx.checker``.
    """
    with _template_prompts(graph) as real_prompts:
        model = _trace(graph, size)
    model = StripMetadata()(model)
    model = WriteInitializers(real_prompts)(model)
    model = FoldConstants()(model)
    model = DropUnusedInputs()(model)
    graph = graph.with_inputs(tuple(value.name for value in model.graph.input))
    bindings = size.bindings() if size is not None else None
    model = DeclareInterface(graph.inputs, graph.outputs, bindings)(model)
    _check_names(model, graph)
    _check_prompts_read(model, graph, set(real_prompts))
    return onnx_graph(graph.name, graph.role, model)


def example_inputs(graph: Graph, size: Size, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of the right shapes for tracing; their values must not matter.

    Every input is a tensor of its own: a tensor given twice is traced as *one* input, and the second silently vanishes.
    """
    generator = torch.Generator().manual_seed(seed)
    bindings = size.bindings()
    return {
        spec.name: torch.rand([int(dim) for dim in spec.bind(bindings)], generator=generator) for spec in graph.inputs
    }


@contextmanager
def _template_prompts(graph: Graph) -> Iterator[dict[str, NDArray[np.generic]]]:
    """The module with random prompt values while the block runs; yields the real values.

    Untrained prompts end in zero weights and biases, which exporters drop or merge.
    """
    parameters = graph.prompt_parameters()
    real = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    generator = torch.Generator().manual_seed(_TEMPLATE_SEED)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.01)
    try:
        yield {name: value.numpy() for name, value in real.items()}
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(real[name])


def _trace(graph: Graph, size: Size | None) -> onnx.ModelProto:
    example = example_inputs(graph, size or TRACE_SIZE)
    dynamic = None if size is not None else _dynamic_shapes(graph)
    noisy = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript"), logging.getLogger("onnx_ir")
    levels = [logger.level for logger in noisy]
    try:
        for logger in noisy:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # Raised inside torch 2.13 about torch's own classes, and about size names that DeclareInterface replaces.
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=UserWarning, message=".*The axis name.*")
            program = torch.onnx.export(
                graph.module.eval(),
                kwargs=example,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=dynamic,
                input_names=[spec.name for spec in graph.inputs],
                output_names=[spec.name for spec in graph.outputs],
                optimize=True,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        cause = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"torch could not export the graph {graph.name!r}", got=cause[0]) from error
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
    if program is None:
        raise ExportError(f"torch gave no program for the graph {graph.name!r}")
    return program.model_proto


def _dynamic_shapes(graph: Graph) -> dict[str, dict[int, object]]:
    """Height and width of every input as multiples of one block count, or free (the cropped feature)."""
    symbols: dict[str, Dim] = {}
    shapes: dict[str, dict[int, object]] = {}
    for spec in graph.inputs:
        axes: dict[int, object] = {}
        for axis, dim in enumerate(spec.dims):
            if isinstance(dim, str):
                factor, symbol = factor_and_symbol(dim)
                base = symbols.setdefault(symbol, Dim(symbol, min=1, max=MAX_SIDE))
                axes[axis] = base if factor == 1 else factor * base
        shapes[spec.name] = axes
    return shapes


def _check_names(model: onnx.ModelProto, graph: Graph) -> None:
    """An output named like a weight makes a file that no reader accepts, and the exporter does not notice."""
    weights = {initializer.name for initializer in model.graph.initializer}
    clash = weights & {spec.name for spec in (*graph.inputs, *graph.outputs)}
    if clash:
        raise ExportError(f"the graph {graph.name!r} has weights named like its tensors", got=", ".join(sorted(clash)))
    missing = {value.name for value in model.graph.output} - set(producers(model.graph))
    if missing:
        raise ExportError(f"nothing in the graph {graph.name!r} computes {', '.join(sorted(missing))}")


def _check_prompts_read(model: onnx.ModelProto, graph: Graph, prompts: set[str]) -> None:
    read = {name for node in model.graph.node for name in node.input}
    unread = sorted(prompts - read)
    if unread:
        raise ExportError(
            f"{len(unread)} task-prompt parameters of the graph {graph.name!r} are stored but never read",
            got=", ".join(unread[:4]),
        )
