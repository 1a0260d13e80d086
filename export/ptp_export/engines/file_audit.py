"""What an ONNX file asks of an engine, read from the file alone, where its conversion is not at hand any more."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from ptp_calibration import TensorRange
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.precision.audit import LayerPrecision, PrecisionAudit
from ptp_export.precision.cost import multiply_accumulates
from ptp_export.precision.typed_graph import TypedGraph


def audit_of_file(graph: OnnxGraph, shapes: Mapping[str, tuple[int, ...]]) -> PrecisionAudit:
    """Every layer with what the file itself computes it in, as asked and as got.

    Args:
        graph: as in the bundle.
        shapes: of the inputs, to weigh the layers by.
    """
    typed, sizes = TypedGraph(graph.model), _sizes(graph.model, shapes)
    layers = []
    for node in graph.model.graph.node:
        if not typed.is_layer(node):
            continue
        kind = typed.computes_in(node)
        layers.append(LayerPrecision(node.name, node.op_type, kind, kind, "", multiply_accumulates(node, typed, sizes)))
    return PrecisionAudit(tuple(layers), {})


def products_of(audit: PrecisionAudit) -> PrecisionAudit:
    """The layers that multiply, which are the ones worth a proof in a graph that was never converted."""
    return PrecisionAudit(tuple(layer for layer in audit.layers if layer.multiply_accumulates), {})


def _sizes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorRange]:
    """The shapes of all tensors, where they follow from those of the inputs."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.input:
        for dim, length in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dim.dim_value = length
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    found = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            # The values themselves were never measured.
            found[value.name] = TensorRange(np.nan, np.nan, tuple(dim.dim_value for dim in dims))
    return found
