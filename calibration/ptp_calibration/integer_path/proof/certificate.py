"""The proof that FP32 computes the integer path exactly, made from the ONNX files alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from ptp_calibration.integer_path.errors import GraphError, IntegerBoundError
from ptp_calibration.integer_path.network import MU_HYPER
from ptp_calibration.integer_path.precision import ACCUMULATOR_LIMIT
from ptp_calibration.integer_path.proof.bounds import (
    UNKNOWN,
    Bounds,
    NotProvedError,
    added,
    chosen,
    clipped,
    convolved,
    floored,
    interval,
    joined,
    scaled,
    shuffled,
)
from ptp_calibration.integer_path.proof.program import Instruction, Program, read_program

#: What comes from outside the path: whole numbers of any size (each must meet a Clip before it is computed with).
EXTERNAL_INPUTS: Mapping[str, tuple[int, int] | None] = {"z_hat": None, "y_int": None}


@dataclass(frozen=True)
class LayerProof:
    """What was proved of one accumulator.

    Attributes:
        graph, layer: names in the ONNX files; the layers ``part_00`` … are the hyper parts of the steps' first layers.
        shifts: n of each output channel: the accumulator is a whole number of 2^-n.
        channel: the output channel with the largest bound.
        bound: largest magnitude its accumulator can have, rounding offset included, in units of its 2^-n.
        limit: what FP32 holds: 2^24.
        tf32_operands: whether all weights and activations of the layer have at most 11 significant bits.
        fp16_operands: whether all weights and activations are finite FP16 numbers.
    """

    graph: str
    layer: str
    shifts: tuple[int, ...]
    channel: int
    bound: int
    limit: int
    tf32_operands: bool
    fp16_operands: bool

    @property
    def share(self) -> float:
        """Bound as a share of the limit; below 1."""
        return self.bound / self.limit


def prove(
    graphs: Mapping[str, onnx.ModelProto],
    input_bounds: Mapping[str, tuple[int, int] | None] = EXTERNAL_INPUTS,
) -> tuple[LayerProof, ...]:
    """Prove every accumulator of the path.

    Args:
        graphs: ``hyper`` first, then the steps in coding order; inputs are outputs of earlier graphs or external.
        input_bounds: external inputs, whole numbers: smallest and largest value, or None where nothing is known.

    Returns:
        One proof for each accumulator, in the order of computation.

    Raises:
        IntegerBoundError: an accumulator can pass the limit; names the layer and the channel.
        GraphError: an operator outside the subset, a weight off the grid, an input that meets no Clip.
    """
    prover = _Prover(input_bounds)
    for name, model in graphs.items():
        prover.add(read_program(name, model))
    return tuple(prover.proofs)


class _Prover:
    """Follows the bounds of every tensor through the graphs.

    A tensor in real units, which leaves the exact path, has no bounds (None).
    """

    def __init__(self, input_bounds: Mapping[str, tuple[int, int] | None]) -> None:
        self.proofs: list[LayerProof] = []
        self._external = input_bounds
        self._outputs: dict[str, Bounds | None] = {}

    def add(self, program: Program) -> None:
        """Prove one graph; later ones may read its outputs."""
        tensors: dict[str, Bounds | None] = {}
        for name, channels in program.inputs.items():
            tensors[name] = self._entered(program, name, channels)
        for instruction in program.instructions:
            try:
                results = self._results(program, instruction, tensors)
            except NotProvedError as error:
                layer = instruction.name.removesuffix("/sum")
                if error.channel >= 0:
                    raise IntegerBoundError(
                        program.name, layer, error.channel, error.bound, ACCUMULATOR_LIMIT
                    ) from error
                raise GraphError(f"{instruction.name} in the graph {program.name} is not exact: {error}") from error
            tensors.update(zip(instruction.outputs, results, strict=True))
        for name in program.outputs:
            bounds = tensors[name]
            if bounds is not None and not bounds.whole:
                self._note(program, name, bounds)
            if program.outputs[name] != "float32":
                continue
            if name in self._outputs or name in self._external:
                raise GraphError(f"the graph {program.name} gives {name}, which something else gives as well")
            self._outputs[name] = bounds

    def _entered(self, program: Program, name: str, channels: int) -> Bounds | None:
        if name in self._external:
            low, high = self._external[name] or (-UNKNOWN, UNKNOWN)
            return interval(np.full(channels, low, np.int64), np.full(channels, high, np.int64))
        if name not in self._outputs:
            raise GraphError(
                f"the graph {program.name} reads {name}; expected an output of a graph before it, or one of "
                f"{', '.join(self._external)}"
            )
        bounds = self._outputs[name]
        if bounds is not None and len(bounds.low) != channels:
            raise GraphError(f"the graph {program.name} reads {channels} channels of {name}, which has another number")
        return bounds

    def _results(
        self, program: Program, instruction: Instruction, tensors: Mapping[str, Bounds | None]
    ) -> list[Bounds | None]:
        inputs = [tensors[name] for name in instruction.inputs]
        operator = instruction.operator
        if any(bounds is None for bounds in inputs):
            raise NotProvedError("it computes with numbers in real units, which no longer belong to the exact path")
        known = [bounds for bounds in inputs if bounds is not None]
        first = known[0]
        if operator == "Conv":
            return [convolved(first, instruction.weight, instruction.bias)]
        if operator == "Add":
            return [added(*known)]
        if operator == "Mul":
            real = instruction.outputs[0] == MU_HYPER and MU_HYPER in program.outputs
            return [None if real else scaled(first, instruction.weight)]
        if operator == "Floor":
            self._note(program, instruction.name.rpartition("/")[0], first)
            return [floored(first)]
        if operator == "Clip":
            return [clipped(first, *instruction.numbers)]
        if operator == "Concat":
            return [joined(known)]
        if operator == "Slice":
            return [chosen(first, *instruction.numbers)]
        if operator == "DepthToSpace":
            return [shuffled(first)]
        if operator == "Cast":
            kind = np.iinfo(instruction.dtype)
            if not first.whole or first.low.min() < kind.min or first.high.max() > kind.max:
                raise NotProvedError(f"its numbers do not all fit {instruction.dtype}")
            return [first]
        if instruction.axis != 1:
            return [first, first]
        ends = np.cumsum(instruction.numbers)
        if ends[-1] != len(first.low):
            raise NotProvedError(f"it splits {len(first.low)} channels into {instruction.numbers}")
        return [chosen(first, int(end) - size, int(end)) for size, end in zip(instruction.numbers, ends, strict=True)]

    def _note(self, program: Program, layer: str, bounds: Bounds) -> None:
        channel = int(bounds.partial.argmax())
        self.proofs.append(
            LayerProof(
                graph=program.name,
                layer=layer,
                shifts=tuple(int(n) for n in bounds.grid),
                channel=channel,
                bound=int(bounds.partial[channel]),
                limit=ACCUMULATOR_LIMIT,
                tf32_operands=bounds.tf32,
                fp16_operands=bounds.fp16,
            )
        )
