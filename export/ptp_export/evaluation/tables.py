"""The results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

#: Short headings of the figures.
HEADINGS = {
    "feature_error": "feature error",
    "teacher_miou": "mIoU to teacher",
    "teacher_photo_miou": "same, per photo",
    "pixel_agreement": "pixels agree",
    "miou": "mIoU to labels",
    "teacher_map": "mAP to teacher",
    "teacher_ap50": "AP50 to teacher",
    "map": "mAP to labels",
    "ap50": "AP50 to labels",
    "top1_agreement": "top-1 agrees",
    "top5_agreement": "top-5 holds it",
}


def point_table(result: Mapping[str, Any]) -> Table:
    """Every codec at every rate, with 95 % intervals."""
    names = list(result["points"][0]["figures"])
    table = _table("codec", "rate", "bpp", HEADINGS["feature_error"], *(HEADINGS[name] for name in names))
    previous = None
    for point in result["points"]:
        if previous not in (None, point["codec"]):
            table.add_section()
        previous = point["codec"]
        low, high = point["intervals"]["feature_error"]
        error = {"value": point["feature_error"], "low": low, "high": high}
        cells = [_cell(value) for value in (error, *(point["figures"][name] for name in names))]
        table.add_row(point["codec"], str(point["rate"]), f"{point['bpp']:.4f}", *cells)
    return table


def delta_table(result: Mapping[str, Any]) -> Table:
    """Our rate against every rival's at equal figures."""
    names = list(next(iter(result["bd_rate"].values())))
    table = _table("our rate against", *(HEADINGS[name] for name in names))
    for rival, figures in result["bd_rate"].items():
        table.add_row(rival, *(delta_text(figures[name]) for name in names))
    table.caption = f"Bjøntegaard delta rate; negative: ours needs fewer bits at an equal figure{footnote(result)}"
    table.caption_justify = "left"
    return table


def delta_text(entry: Mapping[str, Any]) -> str:
    """A difference of rates in per cent, marked where it is no average or not to be relied on, or why there is none."""
    if entry["percent"] is None:
        return str(entry["reason"])
    return f"{entry['percent']:+.1f} %" + ("*" if entry["at_one_rate"] else "") + ("†" if entry["unsteady"] else "")


def footnote(result: Mapping[str, Any]) -> str:
    """What the marks mean, where there are any."""
    entries = [e for figures in result["bd_rate"].values() for e in figures.values() if e["percent"] is not None]
    starred = "; * at our only point of use, no average" if any(e["at_one_rate"] for e in entries) else ""
    return starred + ("; † a curve that falls in places: mostly noise" if any(e["unsteady"] for e in entries) else "")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right")
    return table


def _cell(estimate: Mapping[str, float | None]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
