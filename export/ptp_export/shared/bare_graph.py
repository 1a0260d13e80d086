"""A graph without the prompt inside it: the prompt's tensors become inputs, and bytes of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.stored_model import with_defaults
from ptp_runtime.errors import ExportError
from ptp_runtime.prompt_file import prompt_to_bytes

Tensors = dict[str, NDArray[np.float32]]


def split_prompt(graph: OnnxGraph, names: Iterable[str]) -> tuple[OnnxGraph, Tensors]:
    """Take tensors out of a graph.

    Args:
        graph: in FP32, whole.
        names: of initializers.

    Returns:
        The graph, with the tensors as inputs behind its own, in the order of their names; and the tensors.

    Raises:
        ExportError: a tensor is not in the file.
    """
    wanted = sorted(names)
    stored = {tensor.name: tensor for tensor in graph.model.graph.initializer}
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise ExportError(f"the graph {graph.name!r} has lost {len(missing)} tensors of its prompt", got=missing[0])
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    kept = [tensor for tensor in graph.model.graph.initializer if tensor.name not in wanted]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for name in wanted:
        model.graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, stored[name].dims))
    bare = onnx_graph(graph.name, graph.role, model, integer=graph.integer)
    return bare, {name: numpy_helper.to_array(stored[name]).astype(np.float32) for name in wanted}


def whole_model(bare: OnnxGraph, prompt: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """The graph with a prompt as its default values: what a reader of both files has."""
    return with_defaults(onnx.load_model_from_string(bare.data + prompt_to_bytes(prompt)))
