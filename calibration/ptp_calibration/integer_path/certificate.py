"""The proof that FP32 computes the integer path exactly, made from the ONNX files alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

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
    raise NotImplementedError
