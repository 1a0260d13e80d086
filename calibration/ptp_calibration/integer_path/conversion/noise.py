"""How much rounding costs: the noise that whole weights and whole activations bring into a layer's output.

Rounding to steps of δ has a variance of δ²/12. The accumulator holds 24 bits: products of fine activations leave room
for coarse weights only, and the other way round. Both kinds of noise are computed here before anything is rounded, to
choose where each tensor is clipped and which layers need more than one accumulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.conversion.observe import Observation
from ptp_calibration.integer_path.integer_network import Unit
from ptp_calibration.integer_path.network import Y_INT, Z_HAT, Layer
from ptp_calibration.integer_path.precision import ACCUMULATOR_LIMIT, IntegerPrecision
from ptp_calibration.integer_path.tensors import pieces

Reals = NDArray[np.float64]
_FEWEST_BITS = 5
#: Outputs that hardly move count no more than if they moved by this share of what their layer's outputs do.
_LEAST_SIGNAL = 1 / 32
#: Noise of the weights, as a share of the signal, from which a layer gets a second accumulator, twice of it a third …
_TOLERATED = 0.3
#: … up to so many: each halves the noise of one before at most, and takes a convolution of its own.
MOST_TERMS = 8


def balanced_limits(
    layers: Sequence[Layer],
    units: Mapping[str, Unit],
    seen: Observation,
    precision: IntegerPrecision,
    terms: Mapping[str, int],
) -> dict[str, int]:
    """For each tensor that layers read, the clip that brings the least noise into all of them together.

    Args:
        layers: of the whole network.
        units: of every tensor, at the finest activations allowed.
        seen: the float path's statistics.
        precision: the finest allowed.
        terms: accumulators of each layer.

    Returns:
        tensor → largest magnitude, 2^bits - 1; tensors fed in from outside are not among them.
    """
    candidates = [2**bits - 1 for bits in range(_FEWEST_BITS, precision.activation_bits + 1)]
    noise: dict[str, Reals] = {}
    for layer in layers:
        reading = _Reading(layer, units, seen)
        for name in reading.tensors - {Z_HAT, Y_INT}:
            costs = [
                reading.weight_noise(name, limit, precision.weight_limit, terms[layer.name])
                + reading.activation_noise(name, limit)
                for limit in candidates
            ]
            noise[name] = noise.get(name, np.zeros(len(candidates))) + np.array(costs)
    return {name: candidates[int(np.argmin(cost))] for name, cost in noise.items()}


def accumulators(
    layers: Sequence[Layer], units: Mapping[str, Unit], seen: Observation, precision: IntegerPrecision
) -> dict[str, int]:
    """How many accumulators each layer needs for the noise of its weights to be small beside its signal."""
    counts = {}
    for layer in layers:
        reading = _Reading(layer, units, seen)
        noise = sum(
            reading.weight_noise(name, units[name].limit, precision.weight_limit, 1) for name in reading.tensors
        )
        counts[layer.name] = int(np.clip(np.ceil(noise**0.5 / _TOLERATED), 1, MOST_TERMS))
    return counts


class _Reading:
    """What a layer reads, in real units: how far each input can move each output, and how much it does."""

    def __init__(self, layer: Layer, units: Mapping[str, Unit], seen: Observation) -> None:
        read = pieces(layer.inputs, {name: len(unit.scale) for name, unit in units.items()})
        self.tensors = {piece.tensor for piece in read}
        self._names = np.concatenate([np.full(piece.width, piece.tensor) for piece in read])
        reach, moment = [], []
        for piece in read:
            channels = slice(*piece.channels)
            unit = units[piece.tensor]
            reach.append(unit.scale[channels] * unit.limit)
            moment.append(seen.tensors[piece.tensor].second_moment[channels])
        self._reach = np.concatenate(reach)
        self._energy = np.concatenate(moment) / np.square(self._reach)
        self._weight = np.abs(layer.weight.astype(np.float64)) * self._reach[:, None, None]
        own = seen.tensors[layer.name].second_moment
        signal = np.repeat(own, 4) if layer.shuffle else own
        floor = _LEAST_SIGNAL**2 * float(signal.max())
        self._importance = 1 / np.maximum(signal, floor or 1.0) / len(signal)

    def weight_noise(self, name: str, limit: int, weight_limit: int, terms: int) -> float:
        """Mean square of what rounded weights of one tensor add, as a share of the signal's.

        Args:
            name: of the tensor.
            limit: where it is clipped.
            weight_limit: largest whole weight.
            terms: accumulators, between which the sum is divided.
        """
        chosen = self._names == name
        energy: float = float(self._energy[chosen].sum()) * (self._weight.shape[-1] * limit) ** 2
        step = np.maximum(
            self._weight.sum((1, 2, 3)) / (ACCUMULATOR_LIMIT * terms),
            self._weight[:, chosen].max((1, 2, 3)) / (weight_limit * limit),
        )
        noise = float(np.square(step) @ self._importance)
        return noise * energy / 12

    def activation_noise(self, name: str, limit: int) -> float:
        """Mean square of what a tensor's rounded numbers add, as a share of the signal's."""
        own = self._weight[:, self._names == name]
        noise = float(np.square(own).sum((1, 2, 3)) @ self._importance)
        return noise / (12.0 * limit * limit)
