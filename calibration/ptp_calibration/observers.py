"""From how often values occur to the threshold beyond which they saturate: |x| at the threshold becomes 127.

- ``minmax``: the largest value seen. Nothing saturates; one outlier costs everybody resolution.
- ``percentile``: 99.99 % of the values lie within.
- ``mse``: the threshold of the least mean square error of rounding and saturating.
- ``entropy``: the threshold whose 128 levels lose least of the distribution's own bins (Kullback-Leibler); Migacz,
  "8-bit inference with TensorRT" (GTC 2017). It looks at shapes, not sizes, and cuts tails deeply.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.histogram import BINS, Histogram

LEVELS = 127
"""The largest INT8 magnitude used: −128 would have no positive counterpart."""
PERCENTILE = 99.99
_CANDIDATES = 128
_KEPT = 128


def minmax(histogram: Histogram) -> float:
    """See the module's docstring."""
    return histogram.largest


def percentile(histogram: Histogram, share: float = PERCENTILE) -> float:
    """The upper end of the bin in which the share (in percent) is reached, at most the largest value."""
    reached = np.cumsum(histogram.counts) >= share / 100 * histogram.counts.sum()
    return min(histogram.largest, float(np.argmax(reached) + 1) * histogram.width)


def mse(histogram: Histogram) -> float:
    """See the module's docstring."""
    if histogram.largest == 0:
        return 0.0
    middles, counts = histogram.middles, histogram.counts
    thresholds = histogram.largest * np.arange(1, _CANDIDATES + 1) / _CANDIDATES
    errors = [_square_error(middles, counts, threshold) for threshold in thresholds]
    return float(thresholds[int(np.argmin(errors))])


def entropy(histogram: Histogram) -> float:
    """See the module's docstring."""
    # Zeros are exact at every threshold; a ReLU's would drown the rest.
    counts = histogram.counts.astype(np.float64)
    counts[0] = 0
    if counts.sum() == 0:
        return histogram.largest
    last = int(np.flatnonzero(counts)[-1]) + 1
    ends = np.arange(min(_KEPT, last), last + 1, max(1, (last - _KEPT) // _CANDIDATES))
    divergences = [_divergence(counts, int(end)) for end in ends]
    return min(histogram.largest, float(ends[int(np.argmin(divergences))]) * histogram.width)


OBSERVERS: dict[str, Callable[[Histogram], float]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}


def _square_error(middles: NDArray[np.float64], counts: NDArray[np.int64], threshold: float) -> float:
    scale = threshold / LEVELS
    kept = np.minimum(np.rint(middles / scale), LEVELS) * scale
    return float((counts * (middles - kept) ** 2).sum())


def _divergence(counts: NDArray[np.float64], end: int) -> float:
    """Of the distribution up to ``end``, the rest added to its last bin, from its own 128 levels."""
    given = counts[:end].copy()
    given[-1] += counts[end:].sum()
    edges = np.linspace(0, end, _KEPT + 1).astype(int)
    level = np.repeat(np.arange(_KEPT), np.diff(edges))
    seen = (counts[:end] > 0).astype(np.float64)
    sums = np.bincount(level, counts[:end], _KEPT)
    filled = np.bincount(level, seen, _KEPT)
    coded = np.where(seen > 0, (sums / np.maximum(filled, 1))[level], 0.0)
    p, q = given / given.sum(), coded / max(coded.sum(), 1e-300)
    both = (p > 0) & (q > 0)
    lost = float(p[(p > 0) & (q == 0)].sum())
    # What the levels do not hold at all counts as if they held a grain of it.
    return float((p[both] * np.log(p[both] / q[both])).sum() + lost * np.log(BINS))
