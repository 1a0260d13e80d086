"""The part of ``docs/results.md`` about shared bundles, from ``results/shared_prompts.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = Callable[[list[str], list[list[str]]], str]


def shared_section(document: dict[str, Any], table: Table, environment: str) -> str:
    """Markdown of the section.

    Args:
        document: of ``shared_prompts.json``.
        table: makes a table of a head and rows.
        environment: the sentence about what it was measured on.
    """
    width, height = document["size"]
    tasks = list(document["milliseconds"])
    times = []
    for task, kinds in document["milliseconds"].items():
        row = [task]
        for what in ("encode", "decode"):
            shared, single = kinds["shared"][what], kinds["single"][what]
            row += [f"{single:.0f}", f"{shared:.0f}", f"{shared / single:.2f}×"]
        times.append(row)
    crossed = {(row["coded_for"], row["shown_to"]): row for row in document["crossed"]}
    shown = list(dict.fromkeys(row["shown_to"] for row in document["crossed"]))
    cells = [
        [
            f"coded for {coded}",
            f"{crossed[coded, shown[0]]['bpp']:.3f}",
            *(
                f"{crossed[coded, task]['value']:.3f} ({crossed[coded, task]['low']:.2f}–"
                f"{crossed[coded, task]['high']:.2f})"
                for task in shown
            ),
        ]
        for coded in shown
    ]
    size = document["bytes"]
    together = sum(size[task]["all"] for task in tasks)
    figures = "; ".join(f"{task}: {crossed[task, task]['figure']}" for task in shown)
    return f"""## Shared bundles

One bundle for {", ".join(tasks)} with one set of codec graphs, whose prompts are inputs ([shared-prompts.md](shared-prompts.md)),
beside a bundle for each task: {size["shared"]["all"] / 1e6:.1f} MB (heads {size["shared"]["heads"] / 1e6:.1f} MB, prompts
{size["shared"]["prompts"] / 1e6:.1f} MB) against {together / 1e6:.1f} MB together. Milliseconds of a photograph of
{width} × {height} in ONNX Runtime, all in turn, median of {document["rounds"]} rounds:

{table(["task", "encode, alone", "shared", "ratio", "decode, alone", "shared", "ratio"], times)}

What another task sees in a stream (`decode(data, task=…)`): agreement with its own teacher's answer to the uncompressed
photograph, {document["crossed"][0]["photos"]} held-out photographs cropped to 224 × 224, default rate, with 95 % intervals
({figures}):

{table(["", "bpp", *(f"shown to {task}" for task in shown)], cells)}

{environment}

    python benchmarks/shared_prompts.py SHARED SEG DET CLS --data COCO_MINI --json benchmarks/results/shared_prompts.json
"""
