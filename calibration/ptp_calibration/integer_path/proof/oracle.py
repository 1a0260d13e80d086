"""The definition of the integer path: its ONNX files read as integer programs and computed in int64.

Weights become whole numbers and a shift for each output channel; a Floor becomes an arithmetic shift to the right.
Products are computed in int64 or, where every partial sum is a whole number far below 2^53, by the processor's float64
unit, which then computes whole numbers: the same result, twenty times as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ptp_calibration.integer_path.errors import GraphError
from ptp_calibration.integer_path.network import MU_HYPER, Y_INT, Z_HAT
from ptp_calibration.integer_path.proof.program import Instruction, Program, read_program

Integers = NDArray[np.int64]
_FLOAT64_WHOLE = 2**52
_FINEST = 60


@dataclass(frozen=True)
class _Weights:
    """A convolution in whole numbers: its sums are in units of 2^-shift."""

    weight: Integers
    bias: Integers
    shift: Integers


@dataclass(frozen=True)
class _Value:
    """Whole numbers [1, C, h, w] in units of 2^-shift, int64 [C]."""

    numbers: Integers
    shift: Integers


class IntegerOracle:
    """Computes the graphs in int64.

    Args:
        graphs: ``hyper`` first, then the steps in coding order.

    Raises:
        GraphError: a graph that is no integer program.
    """

    def __init__(self, graphs: Mapping[str, onnx.ModelProto]) -> None:
        self._programs = {name: read_program(name, model) for name, model in graphs.items()}
        self._weights = {
            (name, instruction.name): _whole_weights(name, instruction)
            for name, program in self._programs.items()
            for instruction in program.instructions
            if instruction.operator == "Conv"
        }
        self._scales: dict[tuple[str, str], NDArray[np.float32]] = {}
        # Shifts of what graphs hand to each other do not depend on the numbers: found once, on a small empty latent.
        self._shifts: dict[str, Integers] = {}
        known: dict[str, Integers] = {}
        for name, program in self._programs.items():
            for given, channels in program.inputs.items():
                side = 8 if given == Y_INT else 2
                known.setdefault(given, np.zeros((1, channels, side, side), np.int64))
            tensors = self._computed(name, known)
            for output, dtype in program.outputs.items():
                known[output] = tensors[output].numbers
                if dtype == "float32":
                    self._shifts[output] = tensors[output].shift

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of the graphs, in order."""
        return tuple(self._programs)

    def inputs(self, name: str) -> tuple[str, ...]:
        """Names of what a graph reads."""
        return tuple(self._program(name).inputs)

    def run(self, name: str, inputs: Mapping[str, NDArray[np.integer[Any]]]) -> dict[str, Integers]:
        """Outputs of one graph.

        Args:
            name: ``hyper`` or a step.
            inputs: whole numbers by name: ``z_hat``, ``y_int``, and outputs of earlier graphs as this method gave them.

        Returns:
            int64 by name. ``part_k``: accumulators in units of 2^-n of their channel. ``mu_hyper``: before its scale.

        Raises:
            GraphError: no such graph, or inputs that it does not take.
        """
        tensors = self._computed(name, inputs)
        return {output: tensors[output].numbers for output in self._programs[name].outputs}

    def layers(self, name: str, inputs: Mapping[str, NDArray[np.integer[Any]]]) -> dict[str, Integers]:
        """Every layer's tensor of one graph by the layer's name, as in the ONNX file."""
        tensors = self._computed(name, inputs)
        return {layer: tensors[layer].numbers for layer in layer_names(self._programs[name])}

    def floats(self, name: str, outputs: Mapping[str, NDArray[np.integer[Any]]]) -> dict[str, NDArray[np.generic]]:
        """What the ONNX file gives for outputs of :meth:`run`, in its own dtypes: equal bit for bit."""
        found: dict[str, NDArray[np.generic]] = {}
        for output, numbers in outputs.items():
            dtype = self._program(name).outputs[output]
            if dtype == "float32":
                exact = np.ldexp(numbers.astype(np.float64), -_column(self._shifts[output]))
                value = exact.astype(np.float32)
                if (name, output) in self._scales:
                    value = value * self._scales[name, output][:, None, None]
                found[output] = value
            else:
                found[output] = numbers.astype(dtype)
        return found

    def _program(self, name: str) -> Program:
        if name not in self._programs:
            raise GraphError(f"there is no graph {name}; expected one of {', '.join(self._programs)}")
        return self._programs[name]

    def _computed(self, name: str, inputs: Mapping[str, NDArray[np.integer[Any]]]) -> dict[str, _Value]:
        program = self._program(name)
        tensors: dict[str, _Value] = {}
        for given, channels in program.inputs.items():
            x = inputs.get(given)
            if x is None or x.dtype.kind not in "iu" or x.ndim != 4 or x.shape[:2] != (1, channels):
                got = "nothing" if x is None else f"{x.dtype} {x.shape}"
                raise GraphError(f"the graph {name} reads {given} as integers [1, {channels}, h, w]; got {got}")
            shift = self._shifts.get(given)
            if shift is None and given not in (Z_HAT, Y_INT):
                raise GraphError(f"the graph {name} reads {given}, which no graph before it gives")
            tensors[given] = _Value(x.astype(np.int64), np.zeros(channels, np.int64) if shift is None else shift)
        for instruction in program.instructions:
            results = self._results(name, instruction, [tensors[tensor] for tensor in instruction.inputs])
            tensors.update(zip(instruction.outputs, results, strict=True))
        return tensors

    def _results(self, name: str, instruction: Instruction, inputs: list[_Value]) -> list[_Value]:
        x, operator, numbers = inputs[0], instruction.operator, instruction.numbers
        if operator == "Conv":
            return [_convolution(x, self._weights[name, instruction.name])]
        if operator == "Add":
            shift = np.maximum(x.shift, inputs[1].shift)
            parts = [np.left_shift(value.numbers, _column(shift - value.shift)) for value in inputs]
            return [_Value(parts[0] + parts[1], shift)]
        if operator == "Floor":
            return [_Value(np.right_shift(x.numbers, _column(x.shift)), np.zeros_like(x.shift))]
        if operator == "Mul":
            return [self._multiplied(name, instruction, x)]
        if operator == "Concat":
            joined = np.concatenate([value.numbers for value in inputs], 1)
            return [_Value(joined, np.concatenate([value.shift for value in inputs]))]
        if operator == "Slice":
            return [_Value(x.numbers[:, slice(*numbers)], x.shift[slice(*numbers)])]
        if operator == "Split":
            ends = list(np.cumsum(numbers))[:-1] if instruction.axis == 1 else 2
            parts = np.split(x.numbers, ends, instruction.axis)
            shifts = np.split(x.shift, ends) if instruction.axis == 1 else [x.shift] * 2
            return [_Value(part, shift) for part, shift in zip(parts, shifts, strict=True)]
        if x.shift.any():
            raise GraphError(f"{instruction.name} in the graph {name} reads numbers that are not whole")
        if operator == "Clip":
            return [_Value(x.numbers.clip(numbers[0], numbers[1]), x.shift)]
        if operator == "DepthToSpace":
            _, channels, height, width = x.numbers.shape
            blocks = x.numbers.reshape(1, channels // 4, 2, 2, height, width).transpose(0, 1, 4, 2, 5, 3)
            return [_Value(blocks.reshape(1, channels // 4, 2 * height, 2 * width), x.shift[::4])]
        if operator == "Cast":
            return [x]
        raise GraphError(f"{instruction.name} in the graph {name} is {operator}, which has no integer meaning here")

    def _multiplied(self, name: str, instruction: Instruction, x: _Value) -> _Value:
        """By powers of two: other units. By real numbers: a tensor that leaves the path, kept as it was before."""
        exponents = np.log2(instruction.weight.astype(np.float64))
        if instruction.outputs[0] == MU_HYPER:
            self._scales[name, MU_HYPER] = instruction.weight
            return x
        if (exponents != np.rint(exponents)).any() or (exponents > 0).any():
            raise GraphError(f"{instruction.name} in the graph {name} multiplies by numbers that are no powers of two")
        return _Value(x.numbers, x.shift - exponents.astype(np.int64))


def layer_names(program: Program) -> tuple[str, ...]:
    """Layers of a graph in order: what each Floor and Clip makes, behind its pixel shuffle where there is one."""
    made: dict[str, str] = {}
    clips: dict[str, int] = {}
    names: list[str] = []
    for instruction in program.instructions:
        made[instruction.outputs[0]] = instruction.operator
        first = instruction.inputs[0]
        if instruction.operator == "Clip" and made.get(first) == "Floor":
            clips[instruction.outputs[0]] = len(names)
            names.append(instruction.outputs[0])
        elif instruction.operator == "DepthToSpace" and first in clips:
            names[clips[first]] = instruction.outputs[0]
    return tuple(names)


def _whole_weights(graph: str, instruction: Instruction) -> _Weights:
    """The smallest shift with which all weights and the bias of an output channel are whole."""
    weight = instruction.weight.astype(np.float64)
    bias = instruction.bias.astype(np.float64)
    shift = np.full(len(weight), -1, np.int64)
    for n in range(_FINEST + 1):
        whole_weight, whole_bias = np.ldexp(weight, n), np.ldexp(bias, n)
        fits = (whole_weight == np.rint(whole_weight)).all((1, 2, 3)) & (whole_bias == np.rint(whole_bias))
        shift[fits & (shift < 0)] = n
    if (shift < 0).any():
        channel = int(np.argmin(shift))
        raise GraphError(
            f"{instruction.name} in the graph {graph}, channel {channel}, has weights that are no integers"
        )
    exponent = shift.astype(np.int32)
    return _Weights(
        np.ldexp(weight, exponent[:, None, None, None]).astype(np.int64),
        np.ldexp(bias, exponent).astype(np.int64),
        shift,
    )


def _convolution(x: _Value, weights: _Weights) -> _Value:
    if x.shift.any():
        raise GraphError("a convolution reads numbers that are not whole")
    _, channels, height, width = x.numbers.shape
    outputs, inputs, side, _ = weights.weight.shape
    if channels != inputs:
        raise GraphError(f"a convolution of {inputs} channels reads {channels}")
    border = side // 2
    padded = np.zeros((channels, height + 2 * border, width + 2 * border), np.int64)
    padded[:, border : border + height, border : border + width] = x.numbers[0]
    taps = [padded[:, i : i + height, j : j + width].reshape(channels, -1) for i in range(side) for j in range(side)]
    columns = np.concatenate(taps)
    rows = weights.weight.transpose(0, 2, 3, 1).reshape(outputs, -1)
    sums = _product(rows, columns) + weights.bias[:, None]
    return _Value(sums.reshape(1, outputs, height, width), weights.shift)


def _product(rows: Integers, columns: Integers) -> Integers:
    """Matrix product of whole numbers."""
    largest = int(np.abs(columns).max(initial=0))
    if int(np.abs(rows).sum(1).max(initial=0)) * largest < _FLOAT64_WHOLE:
        return np.asarray((rows.astype(np.float64) @ columns.astype(np.float64)).astype(np.int64))
    return np.asarray(rows @ columns)


def _column(shift: Integers) -> Integers:
    return shift[:, None, None]
