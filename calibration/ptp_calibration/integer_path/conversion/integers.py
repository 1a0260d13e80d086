"""Real weights to whole numbers: the finest grid of powers of two that keeps both bounds, output channel by channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.integer_network import Integers

#: A finer grid than this gains nothing: one step of an output is a million steps of its accumulator.
MAX_SHIFT = 20

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Weights on their grid.

    Attributes:
        weight: int64 [O, I, k, k].
        shift: n of each output channel, int64 [O]: the real weight is weight · 2^-n.
    """

    weight: Integers
    shift: Integers


def finest_grid(weight: Reals, offset: Reals, inputs: Reals, weight_limit: int, budget: int) -> Grid:
    """Round weights on the finest grid for which the accumulator stays below ``budget``.

    Args:
        weight: real weights in output steps per input step, [O, I, k, k].
        offset: magnitude that comes on top of the products (bias, rounding offset, other terms), in output steps [O].
        inputs: largest magnitude of each input, [I].
        weight_limit: largest magnitude of an integer weight.
        budget: in accumulator steps.

    Returns:
        the grid; its shift is below 1 (down to below 0) where nothing finer fits: the caller decides what then.
    """
    channels = len(weight)
    reach = (np.abs(weight) * inputs[:, None, None]).sum((1, 2, 3)) + offset
    largest = np.abs(weight).max((1, 2, 3))
    with np.errstate(divide="ignore"):
        shift = np.minimum(np.log2(budget / reach), np.log2((weight_limit + 0.5) / largest))
    shift = np.minimum(np.floor(shift), MAX_SHIFT)
    while True:
        rounded = np.rint(np.ldexp(weight, shift.astype(int)[:, None, None, None]))
        bound = (np.abs(rounded) * inputs[:, None, None]).sum((1, 2, 3)) + np.ceil(np.ldexp(offset, shift.astype(int)))
        over = (bound >= budget) | (np.abs(rounded).reshape(channels, -1).max(1) > weight_limit)
        if not over.any():
            return Grid(rounded.astype(np.int64), shift.astype(np.int64))
        shift[over] -= 1
