"""One float layer to whole numbers: grid, split where it is too wide for one accumulator, and bias correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptp_calibration.integer_path.conversion.integers import Reals
from ptp_calibration.integer_path.conversion.terms import terms_on_grid
from ptp_calibration.integer_path.errors import ConversionError
from ptp_calibration.integer_path.integer_network import IntegerLayer, Integers, Unit
from ptp_calibration.integer_path.network import Layer
from ptp_calibration.integer_path.precision import MEAN_LIMIT, IntegerPrecision
from ptp_calibration.integer_path.tensors import Array, Piece

#: Room for the bias correction, in output steps; a layer that needs more is rounded again.
_FIRST_ROOM = 1.0


@dataclass(frozen=True)
class Readings:
    """What a layer reads, and in which units.

    Attributes:
        pieces: along input channels.
        units: of every tensor.
        tensors: of each sample: whole numbers as float32, by name.
    """

    pieces: tuple[Piece, ...]
    units: Mapping[str, Unit]
    tensors: Sequence[Mapping[str, Array]]

    @property
    def limits(self) -> dict[str, int]:
        """The clip of each tensor."""
        return {name: unit.limit for name, unit in self.units.items()}

    def scales(self) -> Reals:
        """Scale of each input channel, [I]."""
        return np.concatenate([self.units[piece.tensor].scale[slice(*piece.channels)] for piece in self.pieces])

    def magnitudes(self) -> Reals:
        """Largest magnitude of each input channel, [I]."""
        return np.concatenate([np.full(piece.width, float(self.units[piece.tensor].limit)) for piece in self.pieces])


@dataclass(frozen=True)
class Converted:
    """A layer in whole numbers, and what it did on the samples.

    Attributes:
        layer: converted.
        unit: of its output.
        tensors: its output for each sample.
        clipped: share of its activations that the clip changed.
    """

    layer: IntegerLayer
    unit: Unit
    tensors: tuple[Array, ...]
    clipped: float


def converted(
    layer: Layer,
    unit: Unit,
    mean: Reals,
    readings: Readings,
    precision: IntegerPrecision,
    head: bool,
    count: int = 1,
) -> Converted:
    """Convert one layer.

    Args:
        layer: float.
        unit: wanted for its output; coarser than that where nothing else fits the accumulator.
        mean: of the float layer's outputs before the bias, [O]: the integer layer's is brought there.
        readings: integer tensors of the layers before it, already converted.
        precision: bits.
        head: whether it gives means or indices, whose unit is fixed.
        count: of terms it is split into, each with an accumulator of its own.

    Raises:
        ConversionError: a head that fits no grid.
    """
    scale = np.repeat(unit.scale, 4) if layer.shuffle else unit.scale
    room = np.full(len(layer.weight), _FIRST_ROOM)
    limit = MEAN_LIMIT if head else unit.limit
    while True:
        weight = layer.weight.astype(np.float64) * readings.scales()[:, None, None] / scale[:, None, None, None]
        offset = np.abs(layer.bias / scale) + 0.5 + room
        terms, grid = terms_on_grid(
            readings.pieces, weight, offset, readings.magnitudes(), precision.weight_limit, count
        )
        if (grid < 1).any():
            scale = _coarser(scale, grid, layer, head)
            continue
        bare = IntegerLayer(
            layer.name, terms, np.zeros_like(grid), grid, 0 if layer.relu else -limit, limit, layer.shuffle
        )
        sums = [bare.accumulated(tensors, readings.limits) for tensors in readings.tensors]
        correction = mean / scale - np.ldexp(_mean(sums), -grid.astype(np.int32))
        if (np.abs(correction) > room).any():
            room = np.maximum(room, 2 * np.abs(correction))
            continue
        whole = np.rint(np.ldexp(layer.bias / scale + correction, grid.astype(np.int32))).astype(np.int64)
        done = replace(bare, bias=whole + np.left_shift(1, grid - 1))
        clipped = sum(done.clipped(x) for x in sums) / sum(x.size for x in sums)
        out = Unit(scale[::4] if layer.shuffle else scale, limit)
        return Converted(done, out, tuple(done.finished(x) for x in sums), clipped)


def _mean(sums: Sequence[Array]) -> Reals:
    """Mean of each channel over all samples' tensors [O, h, w]."""
    total = np.sum([x.sum((1, 2), dtype=np.float64) for x in sums], 0)
    return np.asarray(total / sum(x[0].size for x in sums))


def _coarser(scale: Reals, shift: Integers, layer: Layer, head: bool) -> Reals:
    """Output steps so much larger that at least one bit is left to shift; pixels of one channel share theirs."""
    if head:
        channel = int(np.argmin(shift))
        raise ConversionError(
            f"layer {layer.name}, channel {channel}, gives numbers of the coder and its weights are too large for them "
            f"(they would need a shift by {int(shift[channel])}; expected at least 1); the model is damaged?"
        )
    factor = np.exp2(np.maximum(1 - shift, 0))
    if layer.shuffle:
        factor = np.repeat(factor.reshape(-1, 4).max(1), 4)
    return np.asarray(scale * factor)
