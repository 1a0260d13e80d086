"""An ONNX file of the entropy path as a torch module: the same graph on another library's kernels.

It knows the operators that integer graphs consist of, and the few more that the float graphs of the same networks have
(Relu, and arithmetic on shapes). Anything else is refused when the module is made, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from ptp_export.interop.layer_names import layer_names
from ptp_runtime.errors import EngineError

#: A tensor, or a shape computation: Python integers, so that a compiler sees lengths and not data.
Value = Any
#: Takes a node's inputs in order and its attributes by name; gives its outputs in order.
Operator = Callable[..., Sequence[Value]]
_DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
}


@dataclass(frozen=True)
class _Node:
    """One operator: its function, where its arguments come from and what its results are called."""

    function: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    wants_numbers: bool


class TorchGraph(nn.Module):
    """Runs one ONNX graph with torch operators, in the file's order.

    Args:
        model: an entropy graph. Its floating-point initialisers become buffers of the module, so ``to(device)`` and
            ``to(memory_format=torch.channels_last)`` move them.
        operators: functions that take the place of this module's, by operator: what a backend with another arithmetic
            would compute.

    Attributes:
        input_names, output_names: in the file's order.
        layer_names: of an integer graph, see :func:`~ptp_export.interop.layer_names.layer_names`.

    Raises:
        EngineError: an operator, attribute or dtype that this interpreter does not know.
    """

    def __init__(self, model: onnx.ModelProto, operators: Mapping[str, Operator] = MappingProxyType({})) -> None:
        super().__init__()
        graph = model.graph
        self.input_names = [value.name for value in graph.input]
        self.output_names = [value.name for value in graph.output]
        self._host: dict[str, Value] = {}
        self._buffer_of: dict[str, str] = {}
        for tensor in graph.initializer:
            self._constant(tensor.name, numpy_helper.to_array(tensor))
        self._nodes: list[_Node] = []
        for node in graph.node:
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            if node.op_type == "Constant":
                self._constant(node.output[0], numpy_helper.to_array(attributes["value"]))
            else:
                function, numbers = _function(node, operators), node.op_type == "Clip"
                self._nodes.append(_Node(function, tuple(node.input), tuple(node.output), attributes, numbers))
        self.layer_names = layer_names(model)

    def _constant(self, name: str, array: NDArray[Any]) -> None:
        if array.dtype == np.int64:
            self._host[name] = tuple(array.tolist()) if array.ndim else int(array)
        elif array.dtype == np.float32:
            self._buffer_of[name] = f"constant_{len(self._buffer_of)}"
            self.register_buffer(self._buffer_of[name], torch.from_numpy(array.copy()))
            if not array.ndim:
                self._host[name] = float(array)
        else:
            raise EngineError(f"the constant {name!r} has the dtype {array.dtype}", expected="float32 or int64")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the file's order, from the inputs in the file's order."""
        values = self._run(inputs)
        return tuple(values[name] for name in self.output_names)

    def _run(self, inputs: Sequence[Tensor]) -> dict[str, Value]:
        values: dict[str, Value] = dict(self._host)
        values |= {name: getattr(self, buffer) for name, buffer in self._buffer_of.items()}
        values |= dict(zip(self.input_names, inputs, strict=True))
        for node in self._nodes:
            # A scalar constant is there twice: as a number for Clip's bounds, as a tensor for arithmetic.
            known = values | self._host if node.wants_numbers else values
            given = [known[name] if name else None for name in node.inputs]
            values.update(zip(node.outputs, node.function(*given, **node.attributes), strict=True))
        return values

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name, from inputs by name."""
        return self._named(inputs, self.output_names)

    def layers(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every layer's tensor by the layer's name."""
        return self._named(inputs, self.layer_names)

    def _named(self, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            values = self._run([torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in self.input_names])
        return {name: np.ascontiguousarray(values[name].cpu().numpy()) for name in names}


def _function(node: onnx.NodeProto, operators: Mapping[str, Operator]) -> Operator:
    function = operators.get(node.op_type, _OPERATORS.get(node.op_type))
    if function is None or node.domain not in ("", "ai.onnx"):
        raise EngineError(
            f"the operator {node.op_type} of the node {node.name!r} is none of an entropy path",
            expected=", ".join(sorted(_OPERATORS)),
            got=node.op_type,
            hint="export the bundle again",
        )
    return function


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pads: Sequence[int] = (0, 0, 0, 0),
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    auto_pad: bytes = b"NOTSET",
) -> tuple[Tensor]:
    top, left, bottom, right = pads
    if auto_pad != b"NOTSET" or (top, left) != (bottom, right):
        raise EngineError("a convolution with padding that differs between its sides", got=f"{auto_pad!r} {pads}")
    return (functional.conv2d(x, weight, bias, tuple(strides), (top, left), tuple(dilations), group),)


def _depth_to_space(x: Tensor, *, blocksize: int, mode: bytes = b"DCR") -> tuple[Tensor]:
    if mode != b"CRD":
        raise EngineError("DepthToSpace in another order than torch's PixelShuffle", expected="CRD", got=f"{mode!r}")
    return (functional.pixel_shuffle(x, blocksize),)


def _split(x: Tensor, sizes: tuple[int, ...] | None = None, *, axis: int = 0, num_outputs: int = 0) -> Sequence[Tensor]:
    parts: Sequence[Tensor] = torch.split(x, list(sizes) if sizes else -(-x.shape[axis] // num_outputs), axis)
    return parts


def _slice(
    x: Tensor,
    starts: tuple[int, ...],
    ends: tuple[int, ...],
    axes: tuple[int, ...] | None = None,
    steps: tuple[int, ...] | None = None,
) -> tuple[Tensor]:
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if steps is not None and steps[i] != 1:
            raise EngineError("a slice with a step", expected="1", got=str(steps[i]))
        axis = axes[i] if axes is not None else i
        index = [slice(None)] * x.dim()
        index[axis] = slice(start, end)
        x = x[tuple(index)]
    return (x,)


def _clip(x: Tensor, low: float | None = None, high: float | None = None) -> tuple[Tensor]:
    return (x.clamp(low, high),)


def _cast(x: Tensor, *, to: int) -> tuple[Tensor]:
    if to not in _DTYPES:
        raise EngineError("a cast to a dtype that no entropy path has", got=helper.tensor_dtype_to_string(to))
    return (x.to(_DTYPES[to]),)


def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> tuple[tuple[int, ...]]:
    return (tuple(x.shape)[start:end],)


def _squeeze(shape: tuple[int, ...], _axes: tuple[int, ...] | None = None) -> tuple[int]:
    """Of shapes alone: a list of one length becomes the length."""
    (length,) = shape
    return (length,)


def _reshape(value: int | tuple[int, ...], _shape: tuple[int, ...], *, allowzero: int = 0) -> tuple[tuple[int, ...]]:
    """Of shapes alone: the graphs reshape nothing else."""
    return ((value,) if isinstance(value, int) else value,)


def _div(a: Value, b: Value) -> tuple[Value]:
    """Whole-number division of lengths; of tensors the usual one."""
    if isinstance(a, Tensor):
        return (a / b,)
    first = b[0] if isinstance(b, tuple) else b
    return (tuple(n // first for n in a) if isinstance(a, tuple) else a // first,)


def _concat(*parts: Value, axis: int) -> tuple[Value]:
    if isinstance(parts[0], tuple):
        return (tuple(n for part in parts for n in part),)
    return (torch.cat(parts, axis),)


_OPERATORS: dict[str, Operator] = {
    "Add": lambda a, b: (a + b,),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "Div": _div,
    "Floor": lambda x: (torch.floor(x),),
    "Identity": lambda x: (x,),
    "Mul": lambda a, b: (a * b,),
    "Relu": lambda x: (functional.relu(x),),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": lambda a, b: (a - b,),
}
