"""INT8 from FP32: explicit quantisation of products. Inputs and outputs of the graph stay float32.

A product (convolution, matrix product with constant weights) gets its activation through QuantizeLinear and
DequantizeLinear with one scale, and its weights through DequantizeLinear with one scale for each output channel. All
is symmetric: zero points are 0, both sides are INT8, −128 is not used. Biases stay in float. That is the form that
TensorRT turns into integer kernels, and ONNX Runtime into QLinear operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ptp_calibration import TensorRange
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.onnx_passes.graph_pass import GraphPass
from ptp_export.precision.audit import PrecisionAudit, audit_precision
from ptp_export.precision.exclusions import Exclusion, find_exclusions
from ptp_export.precision.fp16 import Fp16FromFp32, require_convertible
from ptp_export.precision.request import PrecisionRequest
from ptp_export.precision.typed_graph import PRODUCTS, QUANTISERS, TypedGraph

LEVELS = 127
#: The smallest scale: of a tensor or channel that is all zeros.
_LEAST_SCALE = np.float32(1e-12)


class Int8FromFp32(GraphPass):
    """The named products compute on integers.

    Requires: products with constant weights and a threshold of their activation. Ensures: each of them reads two
    dequantised operands, no other does; the graph's border is as it was.

    Args:
        nodes: names of products.
        thresholds: activation name → |x| that becomes 127.
    """

    def __init__(self, nodes: Iterable[str], thresholds: Mapping[str, float]) -> None:
        self._nodes = frozenset(nodes)
        self._thresholds = thresholds

    def requires(self, model: onnx.ModelProto) -> None:
        typed = TypedGraph(model)
        found = {node.name: node for node in model.graph.node if node.name in self._nodes}
        missing = sorted(self._nodes - set(found))
        if missing:
            raise self.violated("there is no such node", got=", ".join(missing[:4]))
        for node in found.values():
            if channel_axis(node, typed) is None:
                raise self.violated(f"the node {node.name!r} cannot be quantised", expected="constant weights")
            if node.input[0] not in self._thresholds:
                raise self.violated(f"the tensor {node.input[0]!r} was never observed", hint="observe real photos")

    def edit(self, model: onnx.ModelProto) -> None:
        typed = TypedGraph(model)
        weights: dict[str, onnx.TensorProto] = {}
        nodes: list[onnx.NodeProto] = []
        made: set[str] = set()
        biases: set[str] = set()
        for node in list(model.graph.node):
            if node.name in self._nodes:
                axis = channel_axis(node, typed) or 0  # `requires` has looked: it is not None
                source, weight = node.input[0], node.input[1]
                activation = source + "/int8"
                if activation not in made:
                    made.add(activation)
                    nodes += _rounded(source, self._thresholds[source], weights)
                stored = f"{weight}/int8/{axis}"
                if stored in made:
                    # Weights of several products, as in a feature pyramid: ONNX Runtime fails unless each has its own.
                    stored += f"/{node.name}"
                made.add(stored)
                weights |= _whole(numpy_helper.to_array(typed.weights[weight]), stored, axis)
                nodes.append(_given_back(stored, axis))
                node.input[0], node.input[1] = activation, stored
                if len(node.input) > 2 and node.input[2] in typed.weights:
                    node.input[2] = _own_bias(node, typed, biases, weights)
            nodes.append(node)
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)
        read = {name for node in copies for name in node.input}
        kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
        kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*kept, *weights.values()])

    def ensures(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        onnx.checker.check_model(after, full_check=True)
        typed = TypedGraph(after)
        for node in after.graph.node:
            wanted = node.name in self._nodes
            if node.op_type in PRODUCTS and (typed.computes_in(node) == "int8") is not wanted:
                raise self.violated(f"the node {node.name!r} is {'not' if wanted else 'also'} quantised")


def channel_axis(node: onnx.NodeProto, typed: TypedGraph) -> int | None:
    """The axis of a product's weights along which each output channel has a scale; None: it cannot be quantised.

    A transposed convolution in groups holds only the channels of one group on its axis, so it is left alone.
    """
    if node.op_type not in PRODUCTS or len(node.input) < 2:
        return None
    weight = typed.weights.get(node.input[1])
    if weight is None or weight.data_type != onnx.TensorProto.FLOAT or node.input[0] in typed.weights:
        return None
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        group = attributes["group"].i if "group" in attributes else 1
        return 1 if group == 1 else None
    if len(weight.dims) != 2:
        return None
    transposed = node.op_type == "Gemm" and "transB" in attributes and attributes["transB"].i
    return 0 if transposed else 1


def int8_from_fp32(
    graph: OnnxGraph,
    ranges: Mapping[str, TensorRange],
    thresholds: Mapping[str, float],
    exclusions: tuple[Exclusion, ...],
    *,
    half: bool = False,
    least_share: float = 0.5,
    allow_partial: bool = False,
) -> tuple[OnnxGraph, PrecisionAudit]:
    """Convert one graph and audit the result.

    Args:
        graph: in FP32, of any role but ``entropy``.
        ranges: of every float tensor of the graph, measured on real photos.
        thresholds: of every tensor that a quantised product reads.
        exclusions: products that stay in floats; those of :func:`~ptp_export.precision.int8_exclusions.not_in_int8`, or
            more.
        half: what is not in INT8 goes to FP16, as :func:`~ptp_export.precision.fp16.fp16_from_fp32` would have it.
        least_share: of the arithmetic that must be in INT8.
        allow_partial: accept less than was asked.

    Raises:
        EntropyPathError: the graph belongs to the entropy path.
        PrecisionNotMetError: INT8 (or FP16) was not reached where it should have been.
        ExportError: a tensor was not measured.
    """
    typed = TypedGraph(graph.model)
    require_convertible(graph, typed, ranges)
    kept = {name for exclusion in exclusions for name in exclusion.nodes}
    chosen = [node.name for node in graph.model.graph.node if node.op_type in PRODUCTS and node.name not in kept]
    chosen = [name for name in chosen if name in quantisable(typed)]
    converted = Int8FromFp32(chosen, thresholds)(graph.model)
    half_exclusions: tuple[Exclusion, ...] = ()
    if half:
        # Integer products hand floats on as FP32: their scales do not fit float16.
        rounding = [node.name for node in converted.graph.node if node.op_type in QUANTISERS]
        half_exclusions = find_exclusions(typed, ranges)
        integers = Exclusion("int8", "computed on integers", frozenset([*chosen, *rounding]))
        converted = Fp16FromFp32((integers, *half_exclusions))(converted)
    finished = onnx_graph(graph.name, graph.role, converted)
    request = PrecisionRequest(half, half_exclusions, True, exclusions, least_share)
    audit = audit_precision(typed, TypedGraph(finished.model), request, ranges)
    audit.require_met(graph.name, allow_partial=allow_partial)
    return finished, audit


def quantisable(typed: TypedGraph) -> frozenset[str]:
    """Names of the products that can be in INT8 at all."""
    return frozenset(node.name for node in typed.graph.node if channel_axis(node, typed) is not None)


def _rounded(source: str, threshold: float, weights: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """An activation to INT8 and back."""
    scale, zero, whole = source + "/int8/scale", source + "/int8/zero", source + "/int8/whole"
    weights[scale] = numpy_helper.from_array(np.maximum(np.float32(threshold / LEVELS), _LEAST_SCALE), scale)
    weights[zero] = numpy_helper.from_array(np.array(0, np.int8), zero)
    return [
        helper.make_node("QuantizeLinear", [source, scale, zero], [whole], name="quantise:" + source),
        helper.make_node("DequantizeLinear", [whole, scale, zero], [source + "/int8"], name="dequantise:" + source),
    ]


def _own_bias(node: onnx.NodeProto, typed: TypedGraph, taken: set[str], weights: dict[str, onnx.TensorProto]) -> str:
    """The name of a bias that no other quantised product reads: ONNX Runtime quantises each in its activation's scale,
    under a name that it makes of the bias's, and fails where two products share one."""
    name: str = node.input[2]
    if name not in taken:
        taken.add(name)
        return name
    own = f"{name}/{node.name}"
    weights[own] = numpy_helper.from_array(numpy_helper.to_array(typed.weights[name]), own)
    return own


def _whole(values: NDArray[np.float32], stored: str, axis: int) -> dict[str, onnx.TensorProto]:
    """Weights as INT8, with a scale for each output channel."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    scales = np.maximum(np.abs(values).max(axis=others) / np.float32(LEVELS), _LEAST_SCALE).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    whole = np.clip(np.rint(values / scales.reshape(shape)), -LEVELS, LEVELS).astype(np.int8)
    parts = {"/whole": whole, "/scale": scales, "/zero": np.zeros(scales.shape, np.int8)}
    return {
        stored + suffix: numpy_helper.from_array(np.ascontiguousarray(tensor), stored + suffix)
        for suffix, tensor in parts.items()
    }


def _given_back(stored: str, axis: int) -> onnx.NodeProto:
    """The node that makes floats of stored weights."""
    inputs = [stored + suffix for suffix in ("/whole", "/scale", "/zero")]
    return helper.make_node("DequantizeLinear", inputs, [stored], name="dequantise:" + stored, axis=axis)
