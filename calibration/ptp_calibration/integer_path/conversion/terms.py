"""The convolutions of a layer: one, two where some inputs are hyper parameters, more where one would be too wide."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ptp_calibration.integer_path.conversion.integers import Reals, finest_grid
from ptp_calibration.integer_path.integer_network import Integers, Term
from ptp_calibration.integer_path.network import HYPER_PARAMETERS
from ptp_calibration.integer_path.precision import ACCUMULATOR_LIMIT
from ptp_calibration.integer_path.tensors import Piece, some_channels


def terms_on_grid(
    pieces: Sequence[Piece], weight: Reals, offset: Reals, inputs: Reals, weight_limit: int, count: int
) -> tuple[tuple[Term, ...], Integers]:
    """Round a layer's weights.

    Args:
        pieces: what it reads.
        weight: real weights in output steps per input step, [O, I, k, k].
        offset: magnitude of bias and rounding offset, in output steps, [O].
        inputs: largest magnitude of each input channel, [I].
        weight_limit: largest magnitude of an integer weight.
        count: 1: all terms share one accumulator and one grid. More: that many terms, each on the finest grid its own
            accumulator allows, rounded to the layer's grid before they are added.

    Returns:
        the terms, those of hyper parameters first, and the layer's grid [O]; below 1 where nothing fits.
    """
    ranges = _ranges(pieces, np.abs(weight).sum((2, 3)) * inputs, count)
    parts = [some_channels(pieces, first, last) for first, last in ranges]
    if count == 1:
        shared = finest_grid(weight, offset, inputs, weight_limit, ACCUMULATOR_LIMIT)
        slices = [shared.weight[:, first:last] for first, last in ranges]
        return tuple(Term(part, w, shared.shift) for part, w in zip(parts, slices, strict=True)), shared.shift
    terms: list[Term] = []
    total = offset.copy()
    for part, (first, last) in zip(parts, ranges, strict=True):
        own, reach = weight[:, first:last], inputs[first:last]
        # The first one carries the layer's bias; all round to the layer's grid, which takes half a step of it.
        carried = offset + 1 if not terms else np.ones(len(weight))
        grid = finest_grid(own, carried, reach, weight_limit, ACCUMULATOR_LIMIT)
        terms.append(Term(part, grid.weight, grid.shift))
        # What the rounded weights can reach, and one step that rounding to the layer's grid may add.
        whole = (np.abs(grid.weight) * reach[:, None, None]).sum((1, 2, 3))
        total += np.ldexp(whole.astype(np.float64), -grid.shift.astype(np.int32)) + 1
    fits = np.floor(np.log2((ACCUMULATOR_LIMIT - 1) / total)).astype(np.int64)
    return tuple(terms), np.min([fits, *(term.shift for term in terms)], 0)


def _ranges(pieces: Sequence[Piece], reach: Reals, count: int) -> list[tuple[int, int]]:
    """First and one-past-last input of each term; all that a term reads is hyper parameters, or nothing of it is.

    Args:
        pieces: what the layer reads: hyper parameters first, or not at all.
        reach: how far each input can move each output, [O, I].
        count: of terms wanted; at least one for hyper parameters and one for the rest.
    """
    shares = (reach / np.maximum(reach.sum(1, keepdims=True), 1e-30)).mean(0)
    hyper = sum(piece.width for piece in pieces if piece.tensor in HYPER_PARAMETERS)
    sections = [(first, last) for first, last in ((0, hyper), (hyper, len(shares))) if first < last]
    weights = [float(shares[first:last].sum()) for first, last in sections]
    found = []
    for (first, last), weight in zip(sections, weights, strict=True):
        own = min(max(1, round(count * weight / max(sum(weights), 1e-30))), last - first) if count > 1 else 1
        ends = np.cumsum(shares[first:last]) / max(weight, 1e-30)
        cuts = [first + int(np.searchsorted(ends, (k + 1) / own)) + 1 for k in range(own - 1)]
        edges = sorted({first, *(cut for cut in cuts if first < cut < last), last})
        found += list(pairwise(edges))
    return found
