"""The unit of every activation: how much one integer step means, channel by channel, and where each tensor is clipped.

All of it is chosen before any weight is rounded, from one run of the float path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.conversion.noise import accumulators, balanced_limits
from ptp_calibration.integer_path.conversion.observe import Observation, TensorStatistics
from ptp_calibration.integer_path.integer_network import Unit
from ptp_calibration.integer_path.network import Y_INT, Z_HAT, EntropyNetwork
from ptp_calibration.integer_path.precision import CONTEXT_LIMIT, MEAN_LIMIT, IntegerPrecision

#: Clipping ranges that are tried for each channel, as shares of its largest value.
_SHARES = (1.0, 0.8, 0.6, 0.4)
#: A channel that hardly moved on the samples gets at least this share of its layer's typical range.
_LEAST_RANGE = 1 / 32
#: Room above what the samples show, because other photos go further: a bit of every range.
_HEADROOM = 2.0
#: Clips of fed-in whole numbers and of activations are of the form 2^bits - 1, at least this many bits.
_FEWEST_BITS = 4


@dataclass(frozen=True)
class Plan:
    """What is decided before any weight is rounded.

    Attributes:
        units: of ``z_hat``, ``y_int`` and every layer's output, as its readers see it.
        terms: layer's name → number of accumulators.
    """

    units: Mapping[str, Unit]
    terms: Mapping[str, int]


def plan(network: EntropyNetwork, seen: Observation, precision: IntegerPrecision) -> Plan:
    """Choose all units and the number of accumulators of every layer.

    Outputs of the last layers of a step are in the coder's own units: their scale is 1.
    """
    heads = frozenset().union(*(step.heads for step in network.steps))
    layers = (*network.hyper, *(layer for step in network.steps for layer in step.layers))
    fixed = {
        Z_HAT: Unit(np.ones(network.hyper_channels), fed_in_limit(seen.tensors[Z_HAT])),
        Y_INT: Unit(np.ones(network.latent_channels), fed_in_limit(seen.tensors[Y_INT])),
    } | {layer.name: Unit(np.ones(layer.channels), MEAN_LIMIT) for layer in layers if layer.name in heads}

    def with_limits(limits: Mapping[str, int]) -> dict[str, Unit]:
        found = {}
        for layer in layers:
            if layer.name not in heads:
                limit = limits.get(layer.name, precision.activation_limit)
                found[layer.name] = Unit(best_scale(seen.tensors[layer.name], limit, layer.relu), limit)
        return fixed | found

    finest = with_limits({})
    one = {layer.name: 1 for layer in layers}
    limits = balanced_limits(layers, finest, seen, precision, one)
    terms = accumulators(layers, with_limits(limits), seen, precision)
    if terms != one:
        limits = balanced_limits(layers, finest, seen, precision, terms)
    return Plan(with_limits(limits), terms)


def fed_in_limit(seen: TensorStatistics) -> int:
    """Where whole numbers from outside are clipped: the smallest 2^bits - 1 with room, at most ±1023.

    The narrower the clip, the finer the weights of the layers that read them may be.
    """
    wanted = _HEADROOM * float(seen.largest.max())
    bits = _FEWEST_BITS
    while 2**bits - 1 < wanted:
        bits += 1
    return int(min(2**bits - 1, CONTEXT_LIMIT))


def best_scale(seen: TensorStatistics, limit: int, relu: bool) -> NDArray[np.float64]:
    """Scale of each channel that rounds and clips its values with the smallest mean square error, float64 [C].

    The largest value over the limit is tried, shares of it, and the power of two above it, which comes first: a channel
    whose values are whole numbers of a power of two is kept exactly, and so are its weights. The best is then made
    larger by the room for other photos.
    """
    values = np.maximum(seen.values, 0) if relu else seen.values
    typical = float(np.median(seen.largest[seen.largest > 0])) if (seen.largest > 0).any() else 1.0
    largest = np.maximum(seen.largest, _LEAST_RANGE * typical)
    candidates: list[NDArray[np.float64]] = [np.exp2(np.ceil(np.log2(largest / limit)))]
    candidates += [largest / limit * share for share in _SHARES]
    best = candidates[0]
    least = np.full(len(best), np.inf)
    for scale in candidates:
        unit = scale.astype(np.float32)[:, None]
        steps = np.rint(values / unit).clip(-limit, limit)
        error = np.square(steps * unit - values).mean(1, dtype=np.float64)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return best * _HEADROOM
