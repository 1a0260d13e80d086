"""What stays in FP32 inside an FP16 graph, and why: each exclusion has a name that audit and manifest repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from ptp_calibration import TensorRange
from ptp_export.precision.typed_graph import TypedGraph

HALF_MAX = 65504.0
#: A measured tensor must stay this many times below the largest float16: photos outside the measured set go further.
HEADROOM = 4.0


@dataclass(frozen=True)
class Exclusion:
    """A group of nodes that stay in FP32.

    Attributes:
        name: short, stable; stands in the manifest.
        reason: one sentence.
        nodes: names of the nodes.
    """

    name: str
    reason: str
    nodes: frozenset[str]


def find_exclusions(typed: TypedGraph, ranges: Mapping[str, TensorRange]) -> tuple[Exclusion, ...]:
    """All exclusions of a graph; a node is in the first that names it.

    Args:
        typed: the FP32 graph.
        ranges: measured on real photos, for every float tensor.
    """
    rules: tuple[tuple[str, str, Callable[[], Iterable[str]]], ...] = (
        (
            "gdn",
            "GDN squares its input, which leaves float16 from |x| = 256 on; square to quotient stay in FP32",
            lambda: gdn_nodes(typed),
        ),
        (
            "stem",
            "the teacher's own first layers: float16 weights there alone move the y of the demo by 0.35 %",
            lambda: stem_nodes(typed),
        ),
        ("layer-norm", "the variance is a sum of squares over channels", lambda: _of_type(typed, _NORMS)),
        (
            "softmax",
            "a sum of exponentials needs more than 11 bits",
            lambda: _of_type(typed, {"Softmax", "LogSoftmax"}),
        ),
        ("resize", "sampling positions are computed from sizes beyond 11 bits", lambda: _of_type(typed, {"Resize"})),
        (
            "reduction",
            "a sum over many positions loses its last terms in 11 bits",
            lambda: _of_type(typed, _REDUCTIONS),
        ),
        (
            "exponential",
            "exponentials, logarithms and powers leave float16 easily",
            lambda: _of_type(typed, _EXPONENTIALS),
        ),
        (
            "range",
            f"a tensor measured on real photos comes within a factor of {HEADROOM:g} of float16's largest value",
            lambda: _out_of_range(typed, ranges),
        ),
        ("weights", "a weight is beyond float16's largest value", lambda: _large_weights(typed)),
    )
    taken: set[str] = set()
    found = []
    for name, reason, rule in rules:
        nodes = frozenset(rule()) - taken
        if nodes:
            found.append(Exclusion(name, reason, nodes))
            taken |= nodes
    return tuple(found)


#: Name of the input that holds a photograph.
PIXELS = "image"
#: What the names of the frozen stem's weights contain.
STEM = ".stem."
_BETWEEN = frozenset({"Add", "Sub", "Mul", "Div", "Clip", "Relu", "MaxPool", "Pad"})
_NORMS = frozenset({"LayerNormalization", "InstanceNormalization", "GroupNormalization"})
_REDUCTIONS = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp", "ReduceProd", "GlobalAveragePool"}
)
_EXPONENTIALS = frozenset({"Exp", "Log", "Pow"})


def _of_type(typed: TypedGraph, operators: Iterable[str]) -> Iterable[str]:
    wanted = frozenset(operators)
    return (node.name for node in typed.graph.node if node.op_type in wanted)


def gdn_nodes(typed: TypedGraph) -> Iterable[str]:
    """Nodes of every x·x → Conv → Sqrt → Div or Mul chain."""
    for root in typed.graph.node:
        if root.op_type != "Sqrt":
            continue
        norm = typed.writers.get(root.input[0])
        if norm is None or norm.op_type != "Conv":
            continue
        square = typed.writers.get(norm.input[0])
        if square is None or not _is_square(square, typed):
            continue
        yield from (square.name, norm.name, root.name)
        for reader in typed.readers.get(root.output[0], []):
            if reader.op_type in ("Div", "Mul"):
                yield reader.name


def stem_nodes(typed: TypedGraph) -> Iterable[str]:
    """Nodes from the image to what the learned layers read, where a frozen stem lies between."""
    found, waiting, convolutions = [], [PIXELS], 0
    while waiting:
        for reader in typed.readers.get(waiting.pop(), []):
            of_stem = reader.op_type == "Conv" and STEM in reader.input[1]
            if of_stem or reader.op_type in _BETWEEN:
                convolutions += of_stem
                found.append(reader.name)
                waiting.extend(reader.output)
    return found if convolutions else ()


def _is_square(node: onnx.NodeProto, typed: TypedGraph) -> bool:
    if node.op_type == "Mul":
        return bool(node.input[0] == node.input[1])
    exponent = typed.weights.get(node.input[1]) if node.op_type == "Pow" else None
    return exponent is not None and bool(np.all(numpy_helper.to_array(exponent) == 2))


def _out_of_range(typed: TypedGraph, ranges: Mapping[str, TensorRange]) -> Iterable[str]:
    limit = HALF_MAX / HEADROOM
    for node in typed.graph.node:
        if not typed.float_outputs(node):
            continue
        for name in (*typed.float_inputs(node), *typed.float_outputs(node)):
            if name in ranges and ranges[name].magnitude > limit:
                yield node.name
                break


def _large_weights(typed: TypedGraph) -> Iterable[str]:
    large = {
        name
        for name, tensor in typed.weights.items()
        if tensor.data_type == onnx.TensorProto.FLOAT and np.any(np.abs(numpy_helper.to_array(tensor)) > HALF_MAX)
    }
    return (node.name for node in typed.graph.node if large & set(node.input))
