"""int16 outputs become int32, for engines: TensorRT has no 16-bit integers."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from ptp_export.onnx_passes.graph_pass import GraphPass, producers


class WidenInt16(GraphPass):
    """The final ``Cast`` of an int16 output casts to int32 instead: the same integers in a wider type.

    Requires that int16 occurs nowhere else. The ONNX file of the bundle keeps int16; only the engine's source changes.
    """

    def requires(self, model: onnx.ModelProto) -> None:
        outputs = {value.name for value in model.graph.output}
        for node in model.graph.node:
            if _casts_to_int16(node) and node.output[0] not in outputs:
                raise self.violated(f"int16 is used inside the graph, at {node.name!r}", expected="outputs only")
        writers = producers(model.graph)
        for value in model.graph.output:
            if value.type.tensor_type.elem_type == TensorProto.INT16 and not _casts_to_int16(writers[value.name]):
                raise self.violated(f"the int16 output {value.name!r} is not written by a Cast")

    def edit(self, model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if _casts_to_int16(node):
                next(a for a in node.attribute if a.name == "to").i = TensorProto.INT32
        for value in model.graph.output:
            if value.type.tensor_type.elem_type == TensorProto.INT16:
                value.type.tensor_type.elem_type = TensorProto.INT32

    def ensures(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        onnx.checker.check_model(after, full_check=True)


def _casts_to_int16(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == TensorProto.INT16 for a in node.attribute)
