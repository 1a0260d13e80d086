"""The part of ``docs/results.md`` about ``ablations.py``, from ``results/ablations.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = Callable[[list[str], list[list[str]]], str]

_FIGURES = {"feature_error": "feature error", "top1_agreement": "top-1", "top5_agreement": "top-5"}


def ablations_section(document: dict[str, Any], table: Table, environment: str) -> str:
    """Markdown of the section.

    Args:
        document: of ``ablations.json``.
        table: makes a table of a head and rows.
        environment: the sentence about what it was measured on.
    """
    setting, rows = document["setting"], document["rows"]
    photos = next(iter(rows.values()))["photos"]
    points = [
        [
            f"{name}, rate {point['rate']}",
            f"{point['bpp']:.3f}",
            f"{point['feature_error']:.3f}",
            *(f"{point['figures'][key]['value']:.3f}" for key in ("top1_agreement", "top5_agreement")),
        ]
        for name, row in rows.items()
        for point in row["points"]
    ]
    deltas = [
        [name, *(_percent(row["against_all_prompts"][figure]) for figure in _FIGURES)] for name, row in rows.items()
    ]
    command = (
        "python benchmarks/ablations.py --photos photos/train --labelled COCO_MINI --data photos/held-out -w WORK "
        f"--steps {setting['steps']} --prompt-steps {setting['prompt_steps']} --json benchmarks/results/ablations.json"
    )
    return f"""## Ablations

What each part is worth: `{setting["preset"]}` codecs of {setting["rates"]} rates, trained alike but for one thing
({setting["steps"]} steps of stage 1, {setting["prompt_steps"]} of stage 2), for classification, on {photos} photos
that nothing was trained on. They are trained for minutes: differences count, not the figures. *no hyper-prompts*:
prompts in analysis and synthesis only. *no prompts*: the universal codec. *alpha 0*: stage 1 without the feature's
error, so that the picture alone teaches the codec; its prompts then start from a feature that says little.

Rate against *all prompts* at equal figures (a dash: the curves share no quality; positive: the row takes more):

{table(["codec", *_FIGURES.values()], deltas)}

Prompts buy the task's answer with the feature's error: without them the feature is nearer and the answer further.
Hyper-prompts pay for themselves in bits, the direction the paper reports. Zigzag is behind checkerboard here, which
after so few steps says little of either. Every point:

{table(["codec", "bpp", "feature error", "top-1 agrees", "top-5 holds it"], points)}

{environment}

    {command}
"""


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.0f} %"
