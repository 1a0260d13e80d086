"""The part of ``docs/results.md`` about engines, from ``results/engines.json`` (see ``engines.py``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = Callable[[list[str], list[list[str]]], str]


def engines_section(document: dict[str, Any], table: Table, environment: str) -> str:
    """Markdown of the section.

    Args:
        document: of ``engines.json``.
        table: makes a table of a head and rows.
        environment: the sentence about what it was measured on.
    """
    rows = [row for row in document["bundles"] if row["verified"] is not None]
    others = [row for row in document["bundles"] if row["verified"] is None]
    reference = {row["task"]: row for row in rows if row["precision"] == "fp32"}
    width, height = document["size"]
    photos = rows[0]["verified"]["photos"]
    missing = sorted({reason for row in document["bundles"] for build in row["builds"] for reason in build["missing"]})
    unproved = f" None is proved on the engine: {'; '.join(missing)}." if missing else ""
    return f"""## Engines

Engines of every graph, built without the engine cache; *proof* says at which level the precision of how many
engines was found as asked ([engines.md](engines.md)), *shares* what the multiply-accumulates of analysis,
synthesis and head are computed in there.{unproved} No engine has run: errors, bytes and times are of the same
ONNX graphs in ONNX Runtime on the CPU. *Worst* is the largest error of a tensor against PyTorch in FP32, over
its largest value, on {photos} shipped parity photographs; *disagreement* is that of the task's answer with PyTorch's there
(share of pixels; largest difference of a probability).

{table(_HEAD, [line for row in rows for line in _lines(row)])}

What a precision costs on held-out photographs at the default rate, against the FP32 bundle: bits of the streams, and points
of 100 of agreement with the teacher's answer (over the set; and mean of photographs, with its 95 % interval) and of the
labelled figure.

{table(_COSTS, [_cost(row) for row in rows if row["held_out"] is not None])}

{_kept(rows)}

{_breakers(rows)}
Milliseconds to encode and to decode a photograph of {width} × {height}, the bundles of a task in turn, median of
{document["rounds"]} rounds, ratio to FP32:

{table(["task, precision", "encode", "to FP32", "decode", "to FP32"], [_times(row, reference) for row in rows])}

{_others(others, table)}
{environment}

    python benchmarks/engines.py SEG-FP32 SEG-FP16 SEG-INT8 … --data COCO_MINI --cls-data photos/held-out --build-only FULL-FP16 --json benchmarks/results/engines.json
"""


_HEAD = [
    "task, precision, builder",
    "engines",
    "build s",
    "slowest",
    "ONNX MB",
    "engines MB",
    "proof",
    "shares",
    "worst",
    "disagreement",
]
_COSTS = ["task, precision", "photos", "bits", "agreement over the set", "mean of photographs", "against labels"]
_LABELS = ("miou", "map")


def _cost(row: dict[str, Any]) -> list[str]:
    """Points lost are shown as such: minus is a gain."""
    found = row["held_out"]
    loss, photo = found["loss"], found["photo_loss"]
    labelled = next((f"{loss[name]:+.2f} ({name})" for name in _LABELS if name in loss), "–")
    return [
        f"{row['task']}, {row['precision']}",
        str(found["photos"]),
        f"{found['bits']:+.2%}",
        f"{loss[found['fidelity']]:+.2f}",
        f"{photo['value']:+.2f} ({photo['low']:+.2f} to {photo['high']:+.2f})",
        labelled,
    ]


def _kept(rows: list[dict[str, Any]]) -> str:
    """Which INT8 bundles keep to 1 % of bits and 1 point over the set, and which do not."""
    sides: dict[bool, list[str]] = {True: [], False: []}
    for row in rows:
        found = row["held_out"]
        if found is None or "int8" not in row["precision"]:
            continue
        lost = found["loss"][found["fidelity"]]
        words = f"{row['task']} ({row['precision']}: {found['bits']:+.2%}, {lost:+.2f})"
        sides[found["bits"] <= 0.01 and lost <= 1].append(words)
    kept, rest = ("; ".join(sides[side]) or "none" for side in (True, False))
    return (
        f"INT8 within 1 % of the bits and 1 point over the set: {kept}. Not shown to be: {rest}; the interval of the mean of"
        " photographs says how much so few can tell."
    )


def _breakers(rows: list[dict[str, Any]]) -> str:
    """Of searches that left layers in floats: which did the most damage alone."""
    lines = []
    for row in rows:
        best = row.get("best")
        if not best:
            continue
        left = [item for item in best["alone"] if not item["int8"]]
        worst = sorted(left, key=lambda item: -max(item["bits"] / 0.01, item["answer"]))[:5]
        named = "; ".join(
            f"{item['graph']}/{item['node']} ({item['bits']:+.2%} bits, {item['answer']:.2%} of the answers)"
            for item in worst
        )
        reached = (
            f"{best['damage']['bits']:+.2%} bits and {best['damage']['metric']:+.2f} points on the calibration photos"
        )
        count = len(best["alone"]) or best["chosen"]
        lines.append(
            f"`--best` of {row['task']} ({best['limits']['bits']:.0%} bits, {best['limits']['metric']:g} points) put"
            f" {best['chosen']} of {count} layers into INT8: {reached}."
            + (f" Left in floats, the worst alone first: {named}." if named else "")
        )
    return "\n\n".join(lines) + ("\n" if lines else "")


def _lines(row: dict[str, Any]) -> list[list[str]]:
    found = row["verified"]
    graph, worst = max(found["worst"].items(), key=lambda item: item[1])
    tail = [f"{worst:.1e} ({graph})", f"{found['disagreement']:.2%}"]
    return [
        [f"{row['task']}, {row['precision']}, {build['target']}", *_built(row, build), *tail] for build in row["builds"]
    ]


def _built(row: dict[str, Any], build: dict[str, Any]) -> list[str]:
    shares = "; ".join(f"{name} {_shares(levels['network'])}" for name, levels in build["shares"].items())
    return [
        str(build["engines"]),
        f"{build['build_seconds']:.1f}",
        f"{build['slowest_seconds']:.1f}",
        f"{row['onnx_bytes'] / 1e6:.1f}",
        f"{build['bytes'] / 1e6:.1f}",
        ", ".join(f"{count} {level}" for level, count in build["levels"].items()),
        shares,
    ]


def _shares(shares: dict[str, float]) -> str:
    return " + ".join(f"{share:.0%} {precision}" for precision, share in shares.items() if round(share, 2))


def _times(row: dict[str, Any], reference: dict[str, Any]) -> list[str]:
    times = row["milliseconds"]
    base = reference.get(row["task"], row)["milliseconds"]
    cells = [f"{row['task']}, {row['precision']}"]
    for what in ("encode", "decode"):
        cells += [f"{times[what]:.0f}", f"{times[what] / base[what]:.2f}×"]
    return cells


def _others(rows: list[dict[str, Any]], table: Table) -> str:
    if not rows:
        return ""
    lines = [
        [f"{row['preset']}, {row['task']}, {row['precision']}, {build['target']}", *_built(row, build)]
        for row in rows
        for build in row["builds"]
    ]
    head = ["preset, task, precision, builder", *_HEAD[1:8]]
    return f"Built and audited only, with random weights and a float entropy path:\n\n{table(head, lines)}\n"
