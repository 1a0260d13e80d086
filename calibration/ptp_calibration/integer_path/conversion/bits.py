"""Bits of symbols under the 64-entry scale table, in float64: what a conversion costs, without coding anything."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.precision import SCALE_LEVELS

#: The table of standard deviations (ptp_model.quantization: SCALE_MIN, SCALE_MAX) …
SCALE_MIN, SCALE_MAX = 0.11, 256.0
#: … the smallest probability of a symbol (ptp_model.rate: _LIKELIHOOD_MIN) …
LIKELIHOOD_MIN = 1e-9
#: … and the largest symbol (ptp_model.codec: SYMBOL_LIMIT).
SYMBOL_LIMIT = 2047


@cache
def bits_table() -> NDArray[np.float64]:
    """Bits of each symbol magnitude under each scale, float64 [64, SYMBOL_LIMIT + 1].

    A symbol q has the probability that a zero-mean Gaussian gives to [q - 1/2, q + 1/2].
    """
    step = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)
    edges = np.arange(SYMBOL_LIMIT + 2) - 0.5
    table = np.empty((SCALE_LEVELS, SYMBOL_LIMIT + 1))
    for index in range(SCALE_LEVELS):
        scale = SCALE_MIN * math.exp(index * step)
        # The upper tail, on the side where it is small: no cancellation however far out.
        tail = np.array([0.5 * math.erfc(edge / (scale * math.sqrt(2))) for edge in edges])
        table[index] = -np.log2(np.maximum(tail[:-1] - tail[1:], LIKELIHOOD_MIN))
    table.setflags(write=False)
    return table


def symbol_bits(symbols: NDArray[np.integer[Any]], indices: NDArray[np.integer[Any]]) -> float:
    """Bits of whole-number residuals under the scales of these table indices; any shapes that fit each other."""
    return float(bits_table()[indices, np.abs(symbols)].sum())
