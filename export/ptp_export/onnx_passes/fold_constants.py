"""Evaluates what depends on weights alone."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from ptp_export.onnx_passes.graph_pass import GraphPass

#: Operators that make much out of little; a folded one would only swell the file.
_GENERATORS = frozenset({"ConstantOfShape", "Expand", "Range", "Tile"})


class FoldConstants(GraphPass):
    """Replaces every node whose inputs are all initializers by its value, as an initializer.

    torch's optimiser does the same for small tensors only. What it leaves (a convolution's masked weights, a table of
    attention biases picked by an index) would make the weights an input of the layer for an engine builder. Constant
    nodes become initializers too, so that later passes meet one form only.
    """

    def edit(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        values = {initializer.name: initializer for initializer in graph.initializer}
        outputs = {value.name for value in graph.output}
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        kept = []
        for node in graph.node:
            names = [name for name in node.input if name]
            foldable = all(name in values for name in names) and node.op_type not in _GENERATORS
            if not foldable or outputs & set(node.output):
                kept.append(node)
                continue
            for name, result in zip(node.output, _evaluate(node, names, values, opsets), strict=True):
                values[name] = numpy_helper.from_array(np.ascontiguousarray(result), name)
        read = {name for node in kept for name in node.input}
        del graph.node[:]
        graph.node.extend(kept)
        del graph.initializer[:]
        graph.initializer.extend(tensor for name, tensor in values.items() if name in read)

    def ensures(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        weights = {initializer.name for initializer in after.graph.initializer}
        for node in after.graph.node:
            if node.op_type in ("Conv", "ConvTranspose") and node.input[1] not in weights:
                raise self.violated(f"the convolution {node.name!r} computes its weights", expected="constant weights")


def _evaluate(
    node: onnx.NodeProto, names: list[str], values: dict[str, onnx.TensorProto], opsets: dict[str, int]
) -> list[NDArray[np.generic]]:
    """The node's outputs, computed by onnx's own reference implementation."""
    evaluator = ReferenceEvaluator(node, opsets=opsets)
    feeds = {name: numpy_helper.to_array(values[name]) for name in dict.fromkeys(names)}
    results = evaluator.run(None, feeds)
    return [np.asarray(result) for result in results]
