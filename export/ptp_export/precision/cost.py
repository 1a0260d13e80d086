"""Multiply-accumulates of a node, from measured sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from ptp_calibration import TensorRange
from ptp_export.precision.typed_graph import TypedGraph

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def multiply_accumulates(node: onnx.NodeProto, typed: TypedGraph, ranges: Mapping[str, TensorRange]) -> int:
    """Multiply-accumulates of a convolution or matrix product; 0 for any other operator or an unmeasured tensor.

    Args:
        node: of the graph that was measured.
        typed: that graph.
        ranges: with the sizes seen.
    """
    if node.op_type in CONVOLUTIONS:
        weight = _weight_shape(node.input[1], typed, ranges)
        if not weight:
            return 0
        # Each output (or, transposed, each input) value meets every weight of its channel once.
        counted = node.output[0] if node.op_type == "Conv" else node.input[0]
        return _elements(counted, ranges) * int(np.prod(weight[1:]))
    if node.op_type in ("MatMul", "Gemm"):
        return _elements(node.output[0], ranges) * _inner(node, typed, ranges)
    return 0


def _weight_shape(name: str, typed: TypedGraph, ranges: Mapping[str, TensorRange]) -> tuple[int, ...]:
    """Of an initializer, or of what comes out of a dequantisation; empty where it was not measured."""
    if name in typed.weights:
        return tuple(typed.weights[name].dims)
    return ranges[name].shape if name in ranges else ()


def _elements(name: str, ranges: Mapping[str, TensorRange]) -> int:
    return int(np.prod(ranges[name].shape)) if name in ranges else 0


def _inner(node: onnx.NodeProto, typed: TypedGraph, ranges: Mapping[str, TensorRange]) -> int:
    """Length of the summed axis."""
    weight = typed.weights.get(node.input[1])
    if weight is not None:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return int(weight.dims[-1] if transposed else weight.dims[-2])
    return ranges[node.input[0]].shape[-1] if node.input[0] in ranges else 0
