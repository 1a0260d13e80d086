"""The waterfall: one run stage by stage, as it happened; what the end waited for is outlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptp_runtime.profiling.page.svg import WIDTH, Axis, bar, drawing, figure, line, milliseconds_axis, text
from ptp_runtime.profiling.stages import in_order

_ROW = 17
_LEFT = 120


def waterfall(fall: Mapping[str, Any], longest: float) -> str:
    """One run.

    Args:
        fall: of the document's ``waterfalls``.
        longest: milliseconds of the plot's whole width, so that several can be compared.
    """
    rows = _rows(fall["pieces"])
    axis = Axis(0.0, longest, _LEFT, WIDTH - 90)
    bottom = _ROW * len(rows) + 4
    parts = milliseconds_axis(axis, 2, bottom)
    for number, (stage, pieces) in enumerate(rows):
        y = 2 + _ROW * number
        spent = sum(piece["end"] - piece["start"] for piece in pieces)
        parts.append(text(_LEFT - 8, y + 12, stage, "end"))
        for piece in pieces:
            width = axis(piece["end"]) - axis(piece["start"])
            tip = f"{stage}: {piece['start']:.2f} to {piece['end']:.2f} ms ({piece['end'] - piece['start']:.2f} ms)"
            style = "critical" if piece["critical"] else "beside"
            parts.append(bar(axis(piece["start"]), y + 1, width, _ROW - 4, stage, tip, style))
        last = max(piece["end"] for piece in pieces)
        parts.append(text(axis(last) + 6, y + 12, figure(spent)))
    end = axis(fall["total"])
    parts.append(line(end, 2, end, bottom, "axis dashed"))
    return drawing(bottom + 34, parts, f"One {fall['side']}, the {fall['which']} run: {fall['total']:.1f} ms")


def _rows(pieces: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    by_stage: dict[str, list[Mapping[str, Any]]] = {}
    for piece in pieces:
        by_stage.setdefault(piece["stage"], []).append(piece)
    return [(stage, by_stage[stage]) for stage in in_order(by_stage)]


def path_sentence(fall: Mapping[str, Any]) -> str:
    """For people: what the critical path consists of."""
    on_path = [piece for piece in fall["pieces"] if piece["critical"]]
    spent: dict[str, float] = {}
    for piece in on_path:
        stage = piece["stage"].partition(" ")[0] if piece["stage"].startswith("context") else piece["stage"]
        spent[stage] = spent.get(stage, 0.0) + piece["end"] - piece["start"]
    whole = max(fall["total"], 1e-9)
    leaders = sorted(spent.items(), key=lambda item: -item[1])[:4]
    named = ", ".join(f"{stage} {value:.1f} ms ({value / whole:.0%})" for stage, value in leaders)
    beside = len(fall["pieces"]) - len(on_path)
    gaps = fall["total"] - sum(spent.values())
    rest = f"{beside} stretches run beside it" if beside else "nothing runs beside it"
    return f"{fall['total']:.1f} ms. Critical path: {named}; between stages {gaps:.1f} ms; {rest}."
