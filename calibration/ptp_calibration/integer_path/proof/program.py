"""An ONNX file of the integer path, read as a short list of instructions; whatever is not one of them is refused.

    Conv          stride 1, zero padding that keeps the size, one group
    Add           of two tensors of the same channels
    Mul           by one constant a channel
    Floor, Clip, Cast (to uint8 or int16)
    Concat, Slice along channels; Split along channels, or into halves of the height or the width
    DepthToSpace  blocks of 2, as PixelShuffle orders them

Nothing is computed here: the certificate and the oracle both read programs and share no arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration.integer_path.errors import GraphError

_CASTS = {TensorProto.UINT8: "uint8", TensorProto.INT16: "int16"}


@dataclass(frozen=True)
class Instruction:
    """One node.

    Attributes:
        operator: of ONNX.
        name: of the node.
        inputs, outputs: tensors (constants are not among the inputs).
        axis: of Concat, Split and Slice: 1 channels, 2 height, 3 width.
        numbers: Clip: low, high; Slice: first, last; Split along channels: the sizes.
        weight: Conv: float32 [O, I, k, k]; Mul: float32 [C].
        bias: Conv: float32 [O], zeros where the node has none.
        dtype: Cast.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axis: int = 1
    numbers: tuple[int, ...] = ()
    weight: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    bias: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    dtype: str = ""


@dataclass(frozen=True)
class Program:
    """One graph.

    Attributes:
        name: of the graph.
        inputs: name → channels; all float32.
        outputs: name → dtype.
        instructions: in order.
    """

    name: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, str]
    instructions: tuple[Instruction, ...]


def read_program(name: str, model: onnx.ModelProto) -> Program:
    """Read a model.

    Raises:
        GraphError: an operator, attribute, constant or name that is not part of the integer path.
    """
    return _Reader(name, model).program()


class _Reader:
    def __init__(self, name: str, model: onnx.ModelProto) -> None:
        self._name, self._graph = name, model.graph
        if {opset.domain for opset in model.opset_import} != {""} or model.functions or self._graph.sparse_initializer:
            raise self._wrong("the file", "functions, sparse weights or operators of another domain")
        self._constants: dict[str, NDArray[Any]] = {}
        for constant in self._graph.initializer:
            if constant.data_location == TensorProto.EXTERNAL:
                raise self._wrong(constant.name, "data outside of the file")
            self._constants[constant.name] = numpy_helper.to_array(constant)
        self._operators: dict[str, Callable[[onnx.NodeProto, dict[str, Any]], Instruction]] = {
            "Conv": self._conv,
            "Add": self._plain,
            "Mul": self._mul,
            "Floor": self._plain,
            "Clip": self._clip,
            "Cast": self._cast,
            "Concat": self._concat,
            "Slice": self._slice,
            "Split": self._split,
            "DepthToSpace": self._depth_to_space,
        }

    def program(self) -> Program:
        inputs = {value.name: self._channels(value) for value in self._graph.input}
        known = set(inputs) | set(self._constants)
        if len(known) != len(self._graph.input) + len(self._graph.initializer):
            raise self._wrong("the file", "two tensors of one name")
        instructions = []
        for node in self._graph.node:
            if node.domain or node.op_type not in self._operators:
                raise self._wrong(node.name, f"the operator {node.op_type}", ", ".join(self._operators))
            for tensor in node.input:
                if tensor not in known:
                    raise self._wrong(node.name, f"the input {tensor!r}, which nothing before it computes")
            for tensor in node.output:
                if tensor in known:
                    raise self._wrong(node.name, f"the output {tensor!r}, whose name is taken")
                known.add(tensor)
            attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            instructions.append(self._operators[node.op_type](node, attributes))
        outputs = {}
        for value in self._graph.output:
            if value.name not in known - set(self._constants) - set(inputs):
                raise self._wrong("the file", f"the output {value.name}, which nothing computes")
            outputs[value.name] = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        return Program(self._name, inputs, outputs, tuple(instructions))

    def _wrong(self, where: str, got: str, expected: str = "") -> GraphError:
        wanted = f"; expected {expected}" if expected else ""
        return GraphError(f"{where} in the graph {self._name} has {got}{wanted}; it is no graph of the integer path")

    def _channels(self, value: onnx.ValueInfoProto) -> int:
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if tensor.elem_type != TensorProto.FLOAT or len(dims) != 4 or dims[0].dim_value != 1 or not dims[1].dim_value:
            raise self._wrong(f"the input {value.name}", "another form", "float32 [1, C, height, width]")
        return int(dims[1].dim_value)

    def _instruction(
        self, node: onnx.NodeProto, attributes: dict[str, Any], allowed: Mapping[str, Any], tensors: int, **fields: Any
    ) -> Instruction:
        """The instruction, after checking that its attributes are the allowed ones and its first inputs are tensors."""
        for key, value in attributes.items():
            if key not in allowed or value != allowed[key]:
                raise self._wrong(node.name, f"{key} = {value}", str(allowed.get(key, f"no {key}")))
        inputs = tuple(node.input)
        if any(tensor in self._constants for tensor in inputs[:tensors]) or any(
            tensor not in self._constants for tensor in inputs[tensors:]
        ):
            raise self._wrong(node.name, f"the inputs {', '.join(inputs)}", f"{tensors} tensors, the rest constants")
        return Instruction(node.op_type, node.name, inputs[:tensors], tuple(node.output), **fields)

    def _constant(self, node: onnx.NodeProto, position: int, dtype: type[np.generic]) -> NDArray[Any]:
        name = node.input[position] if position < len(node.input) else ""
        value = self._constants.get(name)
        if value is None or value.dtype != dtype or not np.isfinite(value).all():
            raise self._wrong(
                node.name, f"{name or 'nothing'} as input {position}", f"a finite {dtype.__name__} constant"
            )
        return value

    def _plain(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        return self._instruction(node, attributes, {}, {"Add": 2, "Floor": 1}[node.op_type])

    def _conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        weight = self._constant(node, 1, np.float32)
        bias = self._constant(node, 2, np.float32) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
        side = weight.shape[-1]
        if weight.ndim != 4 or weight.shape[2] != side or side % 2 == 0 or bias.shape != weight.shape[:1]:
            raise self._wrong(node.name, f"weights {weight.shape}", "[O, I, k, k] with an odd k, and biases [O]")
        pads = attributes.get("pads", [0] * 4)
        if pads != [side // 2] * 4:
            raise self._wrong(node.name, f"the padding {pads}", "one that keeps the size")
        allowed = {
            "kernel_shape": [side] * 2,
            "pads": pads,
            "strides": [1, 1],
            "dilations": [1, 1],
            "group": 1,
            "auto_pad": b"NOTSET",
        }
        return self._instruction(node, attributes, allowed, 1, weight=weight, bias=bias)

    def _mul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        factor = self._constant(node, 1, np.float32)
        if factor.ndim != 4 or factor.size != factor.shape[1]:
            raise self._wrong(node.name, f"a factor {factor.shape}", "[1, C, 1, 1]")
        return self._instruction(node, attributes, {}, 1, weight=factor.reshape(-1))

    def _clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        bounds = [self._constant(node, position, np.float32) for position in (1, 2)]
        if any(bound.shape or bound != np.rint(bound) or np.abs(bound) >= 2**24 for bound in bounds):
            raise self._wrong(node.name, "bounds that are no whole numbers", "two scalars")
        low, high = (int(bound) for bound in bounds)
        if low > high:
            raise self._wrong(node.name, f"the bounds {low} and {high}", "the lower one first")
        return self._instruction(node, attributes, {}, 1, numbers=(low, high))

    def _cast(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        target = attributes.get("to")
        if target not in _CASTS:
            raise self._wrong(node.name, "another target type", "uint8 or int16")
        return self._instruction(node, attributes, {"to": target, "saturate": 1}, 1, dtype=_CASTS[target])

    def _concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        if attributes.get("axis") != 1:
            raise self._wrong(node.name, "another axis", "channels")
        return self._instruction(node, attributes, {"axis": 1}, len(node.input))

    def _slice(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        numbers = [self._constant(node, position, np.int64) for position in range(1, len(node.input))]
        if any(number.shape != (1,) for number in numbers) or len(numbers) < 3:
            raise self._wrong(node.name, "another form", "first, last and axis as one number each")
        first, last, axis, *step = (int(number[0]) for number in numbers)
        if axis != 1 or not 0 <= first < last or step not in ([], [1]):
            raise self._wrong(node.name, "another slice", "neighbouring channels")
        return self._instruction(node, attributes, {}, 1, numbers=(first, last))

    def _split(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        axis = attributes.get("axis", 0)
        if axis == 1:
            sizes = tuple(int(size) for size in self._constant(node, 1, np.int64).reshape(-1))
            if len(sizes) != len(node.output) or min(sizes) < 1:
                raise self._wrong(node.name, f"the sizes {sizes}", "one for each output")
            return self._instruction(node, attributes, {"axis": 1}, 1, numbers=sizes)
        if axis not in (2, 3) or len(node.output) != 2 or attributes.get("num_outputs") != 2 or len(node.input) != 1:
            raise self._wrong(node.name, "another split", "channels, or halves of the height or the width")
        return self._instruction(node, attributes, {"axis": axis, "num_outputs": 2}, 1, axis=axis)

    def _depth_to_space(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Instruction:
        if attributes.get("mode") != b"CRD" or attributes.get("blocksize") != 2:
            raise self._wrong(node.name, "another order", "blocks of 2, mode CRD")
        return self._instruction(node, attributes, {"mode": b"CRD", "blocksize": 2}, 1)
