"""The few things that every plot of the page is drawn with."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ptp_runtime.profiling.page.style import hue

WIDTH = 1080
LETTER = 6.6
"""About the width of a letter, for what must not overlap."""


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels.

    Attributes:
        low, high: values.
        start, stop: pixels.
    """

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.stop - self.start)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Round values between low and high."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        raw = span / wanted
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def drawing(height: float, parts: Sequence[str], title: str) -> str:
    """A whole plot; the title is for who cannot see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{html.escape(title)}">'
        f"<title>{html.escape(title)}</title>{''.join(parts)}</svg>"
    )


def text(x: float, y: float, content: str, style: str = "") -> str:
    """A word or a line."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{html.escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str = "grid") -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def bar(x: float, y: float, width: float, height: float, stage: str, tip: str, style: str = "") -> str:
    """A rectangle in a stage's colour, with words for the pointer."""
    return (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.4):.2f}" height="{height:.1f}" fill="var(--{hue(stage)})"'
        f' class="{style}"><title>{html.escape(tip)}</title></rect>'
    )


def milliseconds_axis(axis: Axis, top: float, bottom: float) -> list[str]:
    """Vertical lines with milliseconds below them."""
    parts = []
    for tick in axis.ticks():
        parts += [line(axis(tick), top, axis(tick), bottom), text(axis(tick), bottom + 15, figure(tick), "middle")]
    return [*parts, text(axis.stop, bottom + 30, "ms", "end")]


def figure(value: float) -> str:
    """A number with three digits or so."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"
