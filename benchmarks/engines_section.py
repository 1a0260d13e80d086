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
its largest value, on {photos} shipped parity photographs; *bytes* is what their streams take more than those of
the FP32 bundle; *disagreement* is that of the task's answer with PyTorch's.

{table(_HEAD, [line for row in rows for line in _lines(row, reference)])}

Milliseconds to encode and to decode a photograph of {width} × {height}, the bundles of a task in turn, median of
{document["rounds"]} rounds, ratio to FP32:

{table(["task, precision", "encode", "to FP32", "decode", "to FP32"], [_times(row, reference) for row in rows])}

{_others(others, table)}
{environment}

    python benchmarks/engines.py SEG-FP32 SEG-FP16 … --build-only FULL-FP16 --json benchmarks/results/engines.json
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
    "bytes",
    "disagreement",
]


def _lines(row: dict[str, Any], reference: dict[str, Any]) -> list[list[str]]:
    found = row["verified"]
    base = reference.get(row["task"])
    more = "–" if base is None or base is row else f"{found['size_bytes'] / base['verified']['size_bytes'] - 1:+.2%}"
    graph, worst = max(found["worst"].items(), key=lambda item: item[1])
    tail = [f"{worst:.1e} ({graph})", more, f"{found['disagreement']:.2%}"]
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
