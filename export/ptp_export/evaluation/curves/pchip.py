"""Piecewise cubic Hermite interpolation that never overshoots (PCHIP), and its exact integral.

Source: Fritsch and Butland, "A method for constructing local monotone piecewise cubic interpolants" (1984), with the
three-point formula at the ends that MATLAB and SciPy use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pchip:
    """A monotone piecewise cubic through points.

    Attributes:
        x: strictly increasing, at least two.
        y: as many values.
        slope: dy/dx at the points.
    """

    x: Floats
    y: Floats
    slope: Floats

    @classmethod
    def through(cls, x: Floats, y: Floats) -> Pchip:
        """The interpolant of the points; a straight line for two.

        Raises:
            ValueError: fewer than two points, other lengths, or ``x`` does not increase strictly.
        """
        if len(x) < 2 or len(x) != len(y):
            raise ValueError(f"expected at least two points with a value each, got {len(x)} and {len(y)}")
        width = np.diff(x)
        if not (width > 0).all():
            raise ValueError("expected abscissas that increase strictly")
        return cls(x, y, _slopes(width, np.diff(y) / width))

    def at(self, x: float) -> float:
        """The value at ``x``, which must lie between the first and the last point."""
        k, width, t = self._place(x)
        left, right = (1 + 2 * t) * (1 - t) ** 2, t * t * (3 - 2 * t)
        bend_left, bend_right = t * (1 - t) ** 2, t * t * (t - 1)
        bend = bend_left * self.slope[k] + bend_right * self.slope[k + 1]
        return float(left * self.y[k] + right * self.y[k + 1] + width * bend)

    def integral(self, low: float, high: float) -> float:
        """∫ from ``low`` to ``high``, both between the first and the last point."""
        return self._area(high) - self._area(low)

    def _area(self, x: float) -> float:
        """From the first point to ``x``."""
        k, width, t = self._place(x)
        steps = np.diff(self.x)
        whole = steps * ((self.y[:-1] + self.y[1:]) / 2 + steps * (self.slope[:-1] - self.slope[1:]) / 12)
        left, right = t - t**3 + t**4 / 2, t**3 - t**4 / 2
        bend = self.slope[k] * (t**2 / 2 - 2 * t**3 / 3 + t**4 / 4) + self.slope[k + 1] * (t**4 / 4 - t**3 / 3)
        return float(whole[:k].sum() + width * (left * self.y[k] + right * self.y[k + 1] + width * bend))

    def _place(self, x: float) -> tuple[int, float, float]:
        """Interval, its width, and where in it, 0..1."""
        if not self.x[0] <= x <= self.x[-1]:
            raise ValueError(f"{x} lies outside {self.x[0]} to {self.x[-1]}; nothing is extrapolated")
        k = min(int(np.searchsorted(self.x, x, side="right")) - 1, len(self.x) - 2)
        width = float(self.x[k + 1] - self.x[k])
        return k, width, float(x - self.x[k]) / width


def _slopes(width: Floats, chord: Floats) -> Floats:
    """Slopes at the points from the intervals' widths and chords."""
    if len(chord) == 1:
        return np.array([chord[0], chord[0]])
    inner = np.zeros(len(chord) - 1)
    same = chord[:-1] * chord[1:] > 0
    before, after = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    inner[same] = (before + after)[same] / (before[same] / chord[:-1][same] + after[same] / chord[1:][same])
    first = _end(width[0], width[1], chord[0], chord[1])
    last = _end(width[-1], width[-2], chord[-1], chord[-2])
    return np.concatenate([[first], inner, [last]])


def _end(width: float, next_width: float, chord: float, next_chord: float) -> float:
    """Slope at an end, from three points, kept within what monotonicity allows."""
    slope = ((2 * width + next_width) * chord - width * next_chord) / (width + next_width)
    if slope * chord <= 0:
        return 0.0
    if chord * next_chord <= 0 and abs(slope) > abs(3 * chord):
        return float(3 * chord)
    return float(slope)
