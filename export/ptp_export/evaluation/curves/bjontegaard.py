"""Bjøntegaard delta rate: how many per cent of the rate one codec needs more (or less) than another at equal quality.

log rate is interpolated over the figure by PCHIP and averaged over the range that both curves reach. Source:
Bjøntegaard, VCEG-M33 (2001), with the piecewise interpolation of JCTVC-L1100 and the ITU's HSTP-VID-WPOM (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptp_export.evaluation.curves.pchip import Pchip


@dataclass(frozen=True)
class RatePoint:
    """One measured point: bits per pixel, and a figure of which more is better."""

    bpp: float
    figure: float


@dataclass(frozen=True)
class DeltaRate:
    """What a comparison gives.

    Attributes:
        percent: rate of ours relative to the other's, minus one, in per cent; negative: ours needs less. None: the
            curves cannot be compared.
        reason: why there is none; empty where there is.
        low, high: the range of the figure over which was averaged.
        at_one_rate: ours has one efficient point: the difference is the one at its figure, no average.
        unsteady: more than a third of a curve's points was left out because it falls there: noise decides as much as
            the codecs do.
    """

    percent: float | None
    reason: str = ""
    low: float = float("nan")
    high: float = float("nan")
    at_one_rate: bool = False
    unsteady: bool = False


def efficient(points: Sequence[RatePoint]) -> tuple[RatePoint, ...]:
    """The points that no other beats in both rate and figure, by increasing rate.

    A curve has to rise for its rate to be a function of its figure; where a measured one falls, the cheaper point was
    the better choice anyway.
    """
    kept: list[RatePoint] = []
    for point in sorted(points, key=lambda p: (p.bpp, -p.figure)):
        if not kept or point.figure > kept[-1].figure:
            kept.append(point)
    return tuple(kept)


def delta_rate(ours: Sequence[RatePoint], other: Sequence[RatePoint]) -> DeltaRate:
    """Compare two curves; a point where the figure is NaN is left out.

    Args:
        ours: at least one point.
        other: at least two that are efficient.
    """
    known = [[p for p in points if not np.isnan(p.figure)] for points in (ours, other)]
    mine, theirs = (efficient(points) for points in known)
    unsteady = any(3 * len(kept) < 2 * len(points) for kept, points in zip((mine, theirs), known, strict=True))
    if not mine or len(theirs) < 2:
        return DeltaRate(None, "a curve has too few points of increasing quality")
    low, high = max(mine[0].figure, theirs[0].figure), min(mine[-1].figure, theirs[-1].figure)
    if low > high or (low == high and len(mine) > 1):
        return DeltaRate(None, _apart(mine, theirs))
    their_curve = _log_rate(theirs)
    if len(mine) == 1:
        ratio = np.log(mine[0].bpp) - their_curve.at(mine[0].figure)
        return DeltaRate(float(100 * np.expm1(ratio)), low=low, high=high, at_one_rate=True, unsteady=unsteady)
    mean = (_log_rate(mine).integral(low, high) - their_curve.integral(low, high)) / (high - low)
    return DeltaRate(float(100 * np.expm1(mean)), low=low, high=high, unsteady=unsteady)


def _log_rate(points: Sequence[RatePoint]) -> Pchip:
    return Pchip.through(np.array([p.figure for p in points]), np.log([p.bpp for p in points]))


def _apart(mine: Sequence[RatePoint], theirs: Sequence[RatePoint]) -> str:
    if mine[0].figure > theirs[-1].figure:
        return f"no overlap: the other reaches {theirs[-1].figure:.4g}, ours begins at {mine[0].figure:.4g}"
    return f"no overlap: ours reaches {mine[-1].figure:.4g}, the other begins at {theirs[0].figure:.4g}"
