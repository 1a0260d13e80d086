"""Curves over bits per pixel as inline SVG. Pure."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 46, 10, 44
#: Where a logarithmic axis of bits per pixel may have its marks.
_RATE_MARKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LABEL_GAP = 15
#: About the width of a letter in a name; a long name is moved to the left, into the picture.
_LETTER = 7.0


@dataclass(frozen=True)
class CurvePoint:
    """One point; ``low`` and ``high`` bound its 95 % interval, None without one."""

    bpp: float
    value: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Curve:
    """One codec.

    Attributes:
        name: written at its end.
        colour: CSS.
        points: from few bits to many.
        strong: drawn thicker and on top.
    """

    name: str
    colour: str
    points: Sequence[CurvePoint]
    strong: bool = False


@dataclass(frozen=True)
class Level:
    """A dashed horizontal line and what it means."""

    value: float
    text: str


@dataclass(frozen=True)
class _Frame:
    """From figures to pixels of the picture."""

    rates: tuple[float, float]
    values: tuple[float, float]

    def x(self, bpp: float) -> float:
        low, high = (math.log(rate) for rate in self.rates)
        return _LEFT + (math.log(bpp) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.values
        share = (min(max(value, low), high) - low) / (high - low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def chart(title: str, curves: Sequence[Curve], level: Level | None = None, top: float | None = None) -> str:
    """The picture.

    Args:
        title: what is drawn, for screen readers; the page writes it above.
        curves: at least one with a point.
        level: a reference, or None.
        top: largest value that is drawn; larger ones lie on the upper border. None: all are drawn.
    """
    points = [point for curve in curves for point in curve.points]
    rates = (min(p.bpp for p in points) / 1.15, max(p.bpp for p in points) * 1.1)
    values = [v for p in points for v in (p.value, p.low, p.high) if v is not None] + ([level.value] if level else [])
    marks = _marks(min(values), min(max(values), top) if top is not None else max(values))
    frame = _Frame(rates, (marks[0], marks[-1]))
    parts = [_axes(frame, marks)]
    if level is not None:
        parts.append(_level(frame, level))
    for curve in sorted(curves, key=lambda c: c.strong):
        parts.append(_curve(frame, curve))
    parts.append(_names(frame, curves))
    label = html.escape(f"{title} over bits per pixel")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _marks(low: float, high: float) -> list[float]:
    """Five to nine round values that enclose a range."""
    span = max(high - low, 1e-6)
    step = 10 ** math.floor(math.log10(span / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= 7)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * k for k in range(first, max(last, first + 1) + 1)]


def _axes(frame: _Frame, marks: Sequence[float]) -> str:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    digits = 2 if marks[1] - marks[0] < 0.1 - 1e-9 else 1
    parts = []
    for mark in marks:
        y = frame.y(mark)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="mark" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{mark:.{digits}f}</text>')
    for rate in _RATE_MARKS:
        if frame.rates[0] <= rate <= frame.rates[1]:
            x = frame.x(rate)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
            parts.append(f'<text class="mark" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{rate:g}</text>')
    parts.append(
        f'<text class="axis" x="{(_LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">bits per pixel</text>'
    )
    return "".join(parts)


def _level(frame: _Frame, level: Level) -> str:
    y, right = frame.y(level.value), WIDTH - _RIGHT
    line = f'<line class="level" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + f'<text class="mark" x="{_LEFT + 6}" y="{y - 5:.1f}">{html.escape(level.text)}</text>'


def _curve(frame: _Frame, curve: Curve) -> str:
    parts = []
    for point in curve.points:
        if point.low is not None and point.high is not None:
            x, low, high = frame.x(point.bpp), frame.y(point.low), frame.y(point.high)
            width, opacity = (2, 0.6) if curve.strong else (1, 0.25)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{curve.colour}" '
                f'stroke-width="{width}" opacity="{opacity}"/>'
            )
    path = " ".join(f"{frame.x(p.bpp):.1f},{frame.y(p.value):.1f}" for p in curve.points)
    stroke = 3 if curve.strong else 1.7
    parts.append(f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="{stroke}"/>')
    radius = 5 if curve.strong else 2.6
    for point in curve.points:
        place = f'cx="{frame.x(point.bpp):.1f}" cy="{frame.y(point.value):.1f}"'
        parts.append(
            f'<circle {place} r="{radius}" fill="{curve.colour}"><title>{html.escape(point.text)}</title></circle>'
        )
    return "".join(parts)


def _names(frame: _Frame, curves: Sequence[Curve]) -> str:
    """Each curve's name at its last point, pushed apart where two would overlap."""
    drawn = [(frame.y(c.points[-1].value), frame.x(c.points[-1].bpp), c) for c in curves if c.points]
    parts, lowest = [], -math.inf
    for y, x, curve in sorted(drawn, key=lambda end: end[0]):
        # Only names that stand at the same place can overlap.
        placed = max(y + 4, lowest + _LABEL_GAP) if x > WIDTH - _RIGHT - 90 else y + 4
        lowest = placed if x > WIDTH - _RIGHT - 90 else lowest
        weight = ' font-weight="700"' if curve.strong else ""
        left = min(x + 8, WIDTH - _LETTER * len(curve.name))
        parts.append(
            f'<text class="name" x="{left:.1f}" y="{placed:.1f}" style="fill:{curve.colour}"{weight}>'
            f"{html.escape(curve.name)}</text>"
        )
    return "".join(parts)
