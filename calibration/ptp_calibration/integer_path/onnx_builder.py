"""Writes one ONNX graph node by node; equal constants and equal slices are written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration.integer_path.network import QUADRANTS
from ptp_calibration.integer_path.tensors import Piece

#: As in all other graphs of a bundle: the highest opset whose every operator TensorRT-RTX parses.
OPSET, IR_VERSION = 20, 10
_DTYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int16": TensorProto.INT16}


class OnnxBuilder:
    """A graph under construction. Methods add nodes and return the name of their output."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: dict[str, onnx.ValueInfoProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._views: dict[object, str] = {}

    def input(self, name: str, channels: int, factor: int) -> str:
        """Declare a float32 input [1, C, factor·h, factor·w]; again: nothing."""
        self._inputs.setdefault(name, _value(name, "float32", channels, factor))
        return name

    def output(self, name: str, dtype: str, channels: int, factor: int) -> None:
        """Declare an output."""
        self._outputs.append(_value(name, dtype, channels, factor))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store an array; a name used again must mean the same array."""
        self._constants.setdefault(name, numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output; it is called like its output unless named."""
        self._nodes.append(helper.make_node(operator, inputs, [output], name or output, **attributes))
        return output

    def convolution(
        self, name: str, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, output: str
    ) -> str:
        """Stride 1, zero padding that keeps the size."""
        side = weight.shape[-1]
        inputs = [x, self.constant(f"{name}/weight", weight)]
        if bias is not None:
            inputs.append(self.constant(f"{name}/bias", bias))
        return self.node("Conv", inputs, output, name, kernel_shape=[side] * 2, pads=[side // 2] * 4, strides=[1, 1])

    def clip(self, x: str, low: int, high: int, output: str, name: str = "") -> str:
        """Whole bounds."""
        bounds = [self.constant(f"constant/{value}", np.asarray(value, np.float32)) for value in (low, high)]
        return self.node("Clip", [x, *bounds], output, name)

    def cast(self, x: str, output: str, dtype: str) -> str:
        """To another number type."""
        return self.node("Cast", [x], output, to=_DTYPES[dtype])

    def split_channels(self, x: str, sizes: Sequence[int], outputs: Sequence[str]) -> None:
        """Cut along channels."""
        name = "sizes/" + "_".join(str(size) for size in sizes)
        inputs = [x, self.constant(name, np.asarray(sizes, np.int64))]
        self._nodes.append(helper.make_node("Split", inputs, outputs, f"{x}/split", axis=1))

    def gathered(self, pieces: Sequence[Piece], tensors: dict[str, str], widths: dict[str, int]) -> str:
        """The pieces along channels, as one tensor.

        Args:
            pieces: of a layer's input.
            tensors: name of a tensor in the network → in this graph.
            widths: channels of each tensor.
        """
        if len(pieces) == 1:
            return self._piece(pieces[0], tensors, widths)
        key = tuple(pieces)
        if key not in self._views:
            parts = [self._piece(piece, tensors, widths) for piece in pieces]
            self._views[key] = self.node("Concat", parts, f"joined_{len(self._views):02d}", axis=1)
        return self._views[key]

    def _piece(self, piece: Piece, tensors: dict[str, str], widths: dict[str, int]) -> str:
        x = tensors[piece.tensor]
        if piece.channels != (0, widths[piece.tensor]):
            first, last = piece.channels
            output = f"{x}/channels_{first}_{last}"
            if output not in self._views:
                bounds = [self.constant(f"index/{n}", np.asarray([n], np.int64)) for n in (first, last, 1)]
                self._views[output] = self.node("Slice", [x, *bounds], output)
            x = output
        return x if piece.box == "all" else self._quadrant(x, piece.box)

    def _quadrant(self, x: str, quadrant: str) -> str:
        """Halves of the height, then of the width; sizes stay free."""
        if (x, quadrant) not in self._views:
            halves = [f"{x}/top", f"{x}/bottom"]
            self._nodes.append(helper.make_node("Split", [x], halves, f"{x}/rows", axis=2, num_outputs=2))
            for half in halves:
                names = [f"{half}-left", f"{half}-right"]
                self._nodes.append(helper.make_node("Split", [half], names, f"{half}/columns", axis=3, num_outputs=2))
            self._views.update({(x, name): f"{x}/{name}" for name in QUADRANTS})
        return self._views[(x, quadrant)]

    def model(self) -> onnx.ModelProto:
        """The finished graph, checked by ``onnx.checker``."""
        graph = helper.make_graph(
            self._nodes, self.name, list(self._inputs.values()), self._outputs, list(self._constants.values())
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="ptp-deploy"
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _value(name: str, dtype: str, channels: int, factor: int) -> onnx.ValueInfoProto:
    prefix = "" if factor == 1 else f"{factor}*"
    return helper.make_tensor_value_info(name, _DTYPES[dtype], [1, channels, f"{prefix}h", f"{prefix}w"])
