"""A latency is a distribution: the percentiles of a set of times, and which of them so few times can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

PERCENTILES: Mapping[str, float] = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
"""Those that a profile gives, by name."""


def percentiles(values: npt.ArrayLike) -> dict[str, float]:
    """The percentiles of some times, linear between two neighbours; the unit is that of the times.

    Args:
        values: at least one.
    """
    found = np.percentile(np.asarray(values, np.float64), list(PERCENTILES.values()))
    return dict(zip(PERCENTILES, found.tolist(), strict=True))


def resolved(count: int) -> tuple[str, ...]:
    """The percentiles that ``count`` times can show: those with at least one time expected above them.

    Of the others a profile still gives the figure; it is next to the slowest run and says little.
    """
    return tuple(name for name, rank in PERCENTILES.items() if count * (100.0 - rank) >= 100.0 - 1e-9)


def summary(values: npt.ArrayLike) -> dict[str, Any]:
    """Percentiles, mean, extremes and number of some times.

    Args:
        values: at least one.
    """
    array = np.asarray(values, np.float64)
    return {
        **percentiles(array),
        "mean": float(array.mean()),
        "least": float(array.min()),
        "most": float(array.max()),
        "runs": int(array.size),
    }


def median(values: Iterable[float]) -> float:
    """The middle one of at least one value."""
    return float(np.median(np.fromiter(values, np.float64)))
