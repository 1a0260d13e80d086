"""How far a figure would move with other photographs of the same kind: percentile bootstrap over photographs.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. The same resamples serve every
codec and rate, so that two figures of one evaluation can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
#: Percentiles of the resampled figures that bound a 95 % interval.
BOUNDS = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A figure over all photographs, and its 95 % interval.

    Attributes:
        value: of the photographs as they are; NaN where none had the figure.
        low, high: NaN where there is no interval (fewer than two photographs).
    """

    value: float
    low: float
    high: float


def draws(photos: int, seed: int, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """How often each photograph occurs in each resample, int64 [resamples, photos]; every row sums to ``photos``."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(photos, np.full(photos, 1 / photos), size=resamples)


def mean_estimate(values: NDArray[np.float64], counts: NDArray[np.int64]) -> Estimate:
    """Of the mean of one value a photograph.

    Args:
        values: [photos]; NaN where a photograph has none.
        counts: see :func:`draws`.
    """
    known = (~np.isnan(values)).astype(np.float64)
    filled = np.nan_to_num(values)
    return estimate(lambda weights: _ratio(weights @ filled, weights @ known), counts)


def estimate(
    figure: Callable[[NDArray[np.int64]], NDArray[np.float64]], counts: NDArray[np.int64], limit: int | None = None
) -> Estimate:
    """Of any figure that can be computed from how often each photograph occurs.

    Args:
        figure: int64 [n, photos] → float64 [n].
        counts: see :func:`draws`.
        limit: use only that many resamples, where the figure is dear.
    """
    photos = counts.shape[1]
    value = float(figure(np.ones((1, photos), np.int64))[0])
    if photos < 2 or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"))
    resampled = figure(counts[:limit])
    known = resampled[~np.isnan(resampled)]
    low, high = np.percentile(known, BOUNDS) if len(known) else (float("nan"), float("nan"))
    return Estimate(value, float(low), float(high))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
