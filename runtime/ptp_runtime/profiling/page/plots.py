"""Where the usual run goes, what slow runs do longer, and how runs are distributed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ptp_runtime.profiling.page.svg import LETTER, WIDTH, Axis, bar, drawing, figure, line, milliseconds_axis, text
from ptp_runtime.profiling.stages import SIDES

_LEFT, _RIGHT = 150, 40
_PERCENTILE_TICKS = (50.0, 90.0, 99.0, 99.9, 99.99)


def breakdown(document: Mapping[str, Any]) -> str:
    """Two stacked bars: the median of each stage, encoding above decoding; rivals below them."""
    rows = [(total["name"], total, _of(document["stages"], total["name"])) for total in document["totals"]]
    for rival in document["rivals"]:
        rows += [(f"{rival['name']}: {t['name']}", t, _of(rival["stages"], t["name"])) for t in rival["totals"]]
    widest = max(max(total["p50"], sum(stage["p50"] for stage in stages)) for _, total, stages in rows)
    axis = Axis(0.0, widest, _LEFT, WIDTH - 90)
    height = 30 + 46 * len(rows)
    parts = milliseconds_axis(axis, 6, height - 26)
    for number, (name, total, stages) in enumerate(rows):
        y = 10 + 46 * number
        parts.append(text(_LEFT - 10, y + 20, name, "end strong"))
        position = 0.0
        for stage in stages:
            x, width = axis(position), axis(stage["p50"]) - axis(0.0)
            tip = f"{stage['name']}: {stage['p50']:.2f} ms, {stage['share']:.1%} of the mean run"
            parts.append(bar(x, y, width, 30, stage["stage"], tip))
            if width > LETTER * (len(stage["stage"]) + 1):
                parts.append(text(x + 5, y + 20, stage["stage"], "inside"))
            position += stage["p50"]
        parts.append(text(axis(position) + 8, y + 20, f"{figure(total['p50'])} ms", "strong"))
    return drawing(height + 12, parts, "Median milliseconds by stage")


def _of(stages: Sequence[Mapping[str, Any]], side: str) -> list[Mapping[str, Any]]:
    return [stage for stage in stages if stage["side"] == side]


def excess(tail: Mapping[str, Any]) -> str:
    """Bars: by stage, how much longer it takes in the slowest runs than usually."""
    shown = [(stage, value) for stage, value in tail["excess"].items() if value > 0][:8]
    if not shown:
        return ""
    axis = Axis(0.0, max(value for _, value in shown), _LEFT, WIDTH - 190)
    height = 26 * len(shown) + 40
    parts = milliseconds_axis(axis, 2, height - 34)
    whole = max(tail["slow"] - tail["usual"], 1e-9)
    for number, (stage, value) in enumerate(shown):
        y = 4 + 26 * number
        parts.append(text(_LEFT - 10, y + 15, stage, "end"))
        parts.append(bar(_LEFT, y, axis(value) - _LEFT, 20, stage, f"{stage}: +{value:.2f} ms"))
        parts.append(text(axis(value) + 8, y + 15, f"+{figure(value)} ms, {value / whole:.0%} of the tail", "strong"))
    return drawing(height, parts, f"What the slowest {tail['side']}s spend more, by stage")


def percentile_curves(document: Mapping[str, Any]) -> str:
    """Milliseconds over the share of runs that are faster; the horizontal axis opens up towards the slow runs."""
    curves = {side: sorted(_kept(document, side)) for side in SIDES}
    most = max(len(values) for values in curves.values())
    right = -math.log10(1 - (most - 0.5) / most)
    top = max(values[-1] for values in curves.values())
    # Short titles of a curve stand right of it.
    x, y = Axis(0.0, right, 60, WIDTH - 110), Axis(0.0, top * 1.05, 250, 10)
    parts = []
    for tick in y.ticks(5):
        parts += [line(60, y(tick), WIDTH - 110, y(tick)), text(52, y(tick) + 4, figure(tick), "end")]
    parts.append(text(8, 8, "ms"))
    for rank in _PERCENTILE_TICKS:
        place = -math.log10(1 - rank / 100)
        if place <= right:
            parts += [line(x(place), 10, x(place), 250, "grid"), text(x(place), 266, f"p{rank:g}", "middle")]
    for side, stage in (("encode", "analysis"), ("decode", "head")):
        values = curves[side]
        points = [(x(-math.log10(1 - (k + 0.5) / len(values))), y(value)) for k, value in enumerate(values)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" class="line" stroke="var(--{stage})"/>')
        parts.append(text(points[-1][0] + 8, points[-1][1] + 4, f"{side}, {figure(values[-1])}", "strong"))
    return drawing(274, parts, "Milliseconds by percentile")


def _kept(document: Mapping[str, Any], side: str) -> list[float]:
    return [ms for window in document["windows"] if window["kept"] for ms in window["runs"]["ours"][side]["total"]]


def timeline(document: Mapping[str, Any]) -> str:
    """Every run in the order of time; the windows that count are shaded, those before them are not."""
    windows = document["windows"]
    runs = {side: [(w["kept"], ms) for w in windows for ms in w["runs"]["ours"][side]["total"]] for side in SIDES}
    count, top = len(runs["encode"]), max(ms for values in runs.values() for _, ms in values)
    x, y = Axis(0, max(1, count - 1), 60, WIDTH - 110), Axis(0.0, top * 1.05, 190, 8)
    parts, first = [], 0
    for number, window in enumerate(windows):
        size = len(window["runs"]["ours"]["encode"]["total"])
        if window["kept"]:
            left, right = x(first - 0.5), x(first + size - 0.5)
            parts.append(f'<rect x="{left:.1f}" y="8" width="{right - left:.1f}" height="182" class="kept"/>')
        parts.append(line(x(first - 0.5), 8, x(first - 0.5), 190))
        if len(windows) <= 20 or number % 5 == 0:
            parts.append(text(x(first + size / 2 - 0.5), 206, f"{number + 1}", "middle"))
        first += size
    for tick in y.ticks(4):
        parts += [line(60, y(tick), WIDTH - 110, y(tick)), text(52, y(tick) + 4, figure(tick), "end")]
    parts.append(text(8, 8, "ms"))
    for side, stage in (("encode", "analysis"), ("decode", "head")):
        # A page of ten thousand points is a slow page: every n-th, but all slow ones.
        values = [ms for _, ms in runs[side]]
        every, slow = max(1, count // 1500), sorted(values)[int(0.97 * (count - 1))]
        for number, ms in enumerate(values):
            if number % every == 0 or ms >= slow:
                parts.append(f'<circle cx="{x(number):.1f}" cy="{y(ms):.1f}" r="2.2" fill="var(--{stage})"/>')
        parts.append(text(WIDTH - 102, y(sorted(values)[count // 2]) + 4, side, "strong"))
    parts.append(text(WIDTH - 102, 206, "window"))
    return drawing(214, parts, "Every run in the order of time")


def cold_bars(cold: Mapping[str, Any]) -> str:
    """From the start of a process to its first stream, and to its first result."""
    ms = cold["milliseconds"]
    rows = [
        (what, [(phase, ms[phase]) for phase in ("interpreter", "import", "open", last)])
        for what, last in (("first stream", "first encode"), ("first result", "first decode"))
    ]
    axis = Axis(0.0, max(sum(value for _, value in parts) for _, parts in rows), _LEFT, WIDTH - 110)
    shades = {"interpreter": "copies", "import": "preprocess", "open": "hyper"}
    parts = milliseconds_axis(axis, 4, 96)
    for number, (what, phases) in enumerate(rows):
        y, position = 8 + 44 * number, 0.0
        parts.append(text(_LEFT - 10, y + 19, what, "end strong"))
        for phase, value in phases:
            width = axis(value) - axis(0.0)
            parts.append(bar(axis(position), y, width, 28, shades.get(phase, "context"), f"{phase}: {value:.0f} ms"))
            if width > LETTER * (len(phase) + 1):
                parts.append(text(axis(position) + 5, y + 19, phase, "inside"))
            position += value
        parts.append(text(axis(position) + 8, y + 19, f"{figure(position)} ms", "strong"))
    return drawing(130, parts, "Cold start")
