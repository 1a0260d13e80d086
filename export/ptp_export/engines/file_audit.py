"""What an ONNX file asks of an engine, read from the file alone, where its conversion is not at hand any more."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from ptp_calibration import TensorRange, measure_shapes
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
    """The shapes of all tensors. The graph is run for them: behind a padding whose width is computed, as in a head of
    boxes, the file says nothing."""
    # The values themselves were never measured.
    return {name: TensorRange(np.nan, np.nan, shape) for name, shape in measure_shapes(model, shapes).items()}
