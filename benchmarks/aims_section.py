"""The part of ``docs/results.md`` on what was aimed at: each aim, what the curves say, and what they cannot say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

OURS = "ptp"
#: Agreement with the teacher below which keeping its accuracy says little, and photographs that such a figure needs.
FAITHFUL, ENOUGH = 0.85, 150
#: A rate that counts as low, bits a pixel.
LOW_BPP = 0.3
#: What the classifier's agreement was to reach, and at which rate.
CLS_AIM, CLS_BPP = 0.75, 0.5
FEATURE_AIM = 0.35

Table = Callable[[list[str], list[list[str]]], str]
Document = dict[str, Any]


def _curve(document: Document, codec: str, figure: str) -> list[tuple[float, float]]:
    """(bpp, figure), from few bits to many; the feature error as a negative, so that more is better."""
    points = [point for point in document["points"] if point["codec"] == codec]
    value: Callable[[Any], float] = (
        (lambda p: -p["feature_error"]) if figure == "feature_error" else (lambda p: p["figures"][figure]["value"])
    )
    return sorted((point["bpp"], value(point)) for point in points)


def _rate_for(curve: Sequence[tuple[float, float]], wanted: float) -> float | None:
    """The fewest bits that reach a figure, straight in log rate between two points; None where none does."""
    if curve and curve[0][1] >= wanted:
        return curve[0][0]
    for (low, below), (high, above) in pairwise(curve):
        if below < wanted <= above:
            return math.exp(math.log(low) + (math.log(high) - math.log(low)) * (wanted - below) / (above - below))
    return None


def _figure_at(curve: Sequence[tuple[float, float]], bpp: float) -> float | None:
    """The figure at a rate, likewise."""
    for (low, below), (high, above) in pairwise(curve):
        if low <= bpp <= high:
            return below + (above - below) * math.log(bpp / low) / math.log(high / low)
    return None


def _image_codecs(document: Document) -> list[str]:
    names = dict.fromkeys(point["codec"] for point in document["points"])
    return [name for name in names if name not in (OURS, "Entropic Student")]


def _best(document: Document, figure: str, wanted: float) -> tuple[float, str] | None:
    """The image codec that reaches a figure with the fewest bits."""
    found = [(rate, c) for c in _image_codecs(document) if (rate := _rate_for(_curve(document, c, figure), wanted))]
    return min(found) if found else None


def _twice(document: Document, figure: str) -> str:
    """Where the best image codec needs at least twice our bits."""
    rows = []
    for bpp, value in _curve(document, OURS, figure):
        best = _best(document, figure, value)
        if best is not None:
            rows.append((best[0] / bpp, value, bpp, best))
    most = max(rows)
    twice = [row for row in rows if row[0] >= 2]
    words = f"most at {most[1]:.3f}: {most[2]:.3f} bpp, {most[3][1]} {most[3][0]:.3f} ({most[0]:.2f}×)"
    return words + (f"; at least twice at {', '.join(f'{row[1]:.3f}' for row in twice)}" if twice else "; never twice")


def _reached(document: Document, figure: str, wanted: float) -> str:
    ours, best = _rate_for(_curve(document, OURS, figure), wanted), _best(document, figure, wanted)
    words = "not reached" if ours is None else f"{ours:.3f} bpp"
    return words + ("" if best is None else f" ({best[1]} {best[0]:.3f})")


def _ahead(document: Document, figure: str) -> str:
    """At which of our rates a figure is ahead of every image codec's at equal bits."""
    ahead, behind = [], []
    for bpp, value in _curve(document, OURS, figure):
        rivals = [r for c in _image_codecs(document) if (r := _figure_at(_curve(document, c, figure), bpp)) is not None]
        if rivals:
            (ahead if value > max(rivals) else behind).append(f"{bpp:.3f}")
    return f"ahead at {', '.join(ahead) or 'none'}" + (f"; behind at {', '.join(behind)}" if behind else "") + " bpp"


def _kept(document: Document, metric: str, fidelity: str) -> str:
    """What the student keeps of its teacher's labelled figure at the highest low rate, and how faithful it is there."""
    low = [point for point in document["points"] if point["codec"] == OURS and point["bpp"] <= LOW_BPP]
    point = max(low, key=lambda p: p["bpp"])
    teacher = document["teacher_figures"][metric]["value"]
    share = point["figures"][metric]["value"] / teacher
    faithful = point["figures"][fidelity]["value"]
    return f"{share:.0%} of {teacher:.3f} {metric} at {point['bpp']:.3f} bpp, {fidelity} {faithful:.2f}"


def _most_faithful(document: Document, fidelity: str) -> str:
    """The best agreement with the teacher's own answers that any rate of ours has."""
    best = max(value for _, value in _curve(document, OURS, fidelity))
    return f"{best:.2f} ({fidelity}, {len(document['photos'])} photographs)"


def _rates(documents: dict[str, Document]) -> str:
    spans = []
    for name, document in documents.items():
        curve = _curve(document, OURS, "feature_error")
        spans.append(f"{name} {len(curve)}, {curve[0][0]:.3f} to {curve[-1][0]:.3f} bpp")
    return "; ".join(spans)


def _delta(document: Document, figures: Sequence[str]) -> str:
    """Against the image codec that is hardest to beat."""
    words = []
    for figure in figures:
        deltas = [
            (document["bd_rate"][codec][figure]["percent"], codec)
            for codec in _image_codecs(document)
            if document["bd_rate"][codec][figure]["percent"] is not None
        ]
        worst = max(deltas)
        words.append(f"{worst[0]:+.0f} % ({figure}, {worst[1]})")
    return ", ".join(words)


def aims_section(load: Callable[[str], Document], table: Table) -> str:
    """The section.

    Args:
        load: reads a file of ``benchmarks/results``.
        table: makes one of head and rows.
    """
    cls, seg, det = (load(f"eval-{task}.json") for task in ("cls", "seg", "det"))
    seg_many = load("eval-seg-many.json")
    many = len(seg_many["photos"])
    at_low = _figure_at(_curve(seg_many, OURS, "feature_error"), LOW_BPP)
    rows = [
        [
            "rates of each task",
            "4 or more, about 0.05 to 0.6 bpp",
            _rates({"cls": cls, "seg": seg_many, "det": det}),
        ],
        ["cls: bits of the best image codec at equal agreement", "twice ours somewhere", _twice(cls, "top1_agreement")],
        [f"cls: {CLS_AIM:.0%} agreement", f"{CLS_BPP} bpp", _reached(cls, "top1_agreement", CLS_AIM)],
        [
            f"feature error {FEATURE_AIM} ({many} photos at their own size)",
            f"{LOW_BPP} bpp",
            f"{_reached(seg_many, 'feature_error', -FEATURE_AIM)}; {-(at_low or math.nan):.3f} at {LOW_BPP} bpp",
        ],
        ["feature error at equal bits", "below every image codec's", f"seg: {_ahead(seg, 'feature_error')}"],
        ["", "", f"cls: {_ahead(cls, 'feature_error')}"],
        ["delta rate, seg", "−50 %", _delta(seg, ("teacher_miou", "teacher_photo_miou", "pixel_agreement"))],
        ["delta rate, det", "−30 %", _delta(det, ("teacher_map", "teacher_ap50"))],
        ["kept of the teacher, seg", "95 %", _kept(seg_many, "miou", "teacher_miou")],
        ["kept of the teacher, det", "90 %", _kept(det, "map", "teacher_map")],
    ]
    return f"""## What was aimed at

Between two points of a curve the figure is straight in the logarithm of the rate. Delta rates are against the image
codec that is hardest to beat.

{table(["what", "aim", "found"], rows)}

What a codec keeps of its teacher counts only where it gives the teacher's own answers, to {FAITHFUL} or more on {ENOUGH} photographs
or more: a weak teacher's figure against labels can be kept by luck, or passed. Our most faithful rates reach {_most_faithful(seg_many, "teacher_miou")}
and {_most_faithful(det, "teacher_map")}; {len([p for p in seg["photos"] if p["labelled"]])} and {len([p for p in det["photos"] if p["labelled"]])} of the photographs have labels.
"""
