"""An ONNX graph with the element type of every value, and which inputs of a node may change it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import onnx
from onnx import TensorProto, defs

from ptp_export.onnx_passes.graph_pass import consumers, producers

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)

#: Operators that only move or rename values: they follow their neighbours and do not count as layers.
MOVEMENT = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad",
        "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip

#: Operators whose float output does not take its type from a float input.
SOURCES = frozenset(
    {"Cast", "CastLike", "Constant", "ConstantOfShape", "EyeLike", "Range", "RandomNormal", "RandomUniform"}
)

#: Operators between floats and integers: they say what a product computes in and are no layers themselves.
QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})

#: Operators that multiply, and so may compute on integers.
PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})


@dataclass(frozen=True)
class TypedGraph:
    """Read-only view of a model whose types could all be inferred."""

    model: onnx.ModelProto

    @property
    def graph(self) -> onnx.GraphProto:
        return self.model.graph

    @cached_property
    def types(self) -> dict[str, int]:
        """Value name → ``TensorProto`` element type, of inputs, weights and every inner value."""
        inferred = onnx.shape_inference.infer_shapes(self.model, strict_mode=True).graph
        types = {
            v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.value_info, *inferred.output)
        }
        return types | {initializer.name: initializer.data_type for initializer in inferred.initializer}

    @cached_property
    def weights(self) -> dict[str, TensorProto]:
        """Initializers by name."""
        return {initializer.name: initializer for initializer in self.graph.initializer}

    @cached_property
    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        return consumers(self.graph)

    @cached_property
    def writers(self) -> dict[str, onnx.NodeProto]:
        return producers(self.graph)

    def float_outputs(self, node: onnx.NodeProto) -> list[str]:
        """The node's outputs of type float32 or float16."""
        return [name for name in node.output if name and self.types.get(name) in FLOATS]

    def float_inputs(self, node: onnx.NodeProto) -> list[str]:
        """The node's inputs of type float32 or float16, weights included."""
        return [name for name in node.input if name and self.types.get(name) in FLOATS]

    def castable(self, node: onnx.NodeProto) -> list[int]:
        """Positions of the float inputs whose type the operator lets be float16."""
        return [
            i
            for i, name in enumerate(node.input)
            if name and self.types.get(name) in FLOATS and _allows_half(node.op_type, i, self._opset, False)
        ]

    def supports_half(self, node: onnx.NodeProto) -> bool:
        """Whether the operator computes in float16 when its castable inputs are float16."""
        return bool(self.castable(node)) and all(
            _allows_half(node.op_type, i, self._opset, True)
            for i, name in enumerate(node.output)
            if name and self.types.get(name) in FLOATS
        )

    def is_layer(self, node: onnx.NodeProto) -> bool:
        """Whether the node computes floats from floats (and does not merely move or round them)."""
        computes = bool(self.float_outputs(node)) and bool(self.float_inputs(node))
        return computes and not any(node.op_type in group for group in (MOVEMENT, SOURCES, QUANTISERS))

    def computes_in(self, node: onnx.NodeProto) -> str:
        """``int8`` for a product of two dequantised operands, ``weight-only`` where its weights alone are; else
        ``fp16`` when every float output is float16, or ``fp32``."""
        if node.op_type in PRODUCTS:
            dequantised = [self._is_dequantised(name) for name in node.input[:2]]
            if dequantised[1]:
                return "int8" if dequantised[0] else "weight-only"
        return "fp16" if all(self.types[name] == TensorProto.FLOAT16 for name in self.float_outputs(node)) else "fp32"

    def _is_dequantised(self, name: str) -> bool:
        writer = self.writers.get(name)
        return writer is not None and writer.op_type == "DequantizeLinear"

    @cached_property
    def _opset(self) -> int:
        return next(int(entry.version) for entry in self.model.opset_import if entry.domain in ("", "ai.onnx"))


@lru_cache(maxsize=4096)
def _allows_half(op_type: str, position: int, opset: int, output: bool) -> bool:
    """Whether the operator's schema lets that input or output be float16."""
    schema = defs.get_schema(op_type, opset, "")
    formals = schema.outputs if output else schema.inputs
    formal = formals[min(position, len(formals) - 1)]
    return "tensor(float16)" in formal.types
