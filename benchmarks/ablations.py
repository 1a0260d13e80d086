"""What each part of the method is worth: small codecs trained alike but for one thing, judged on held-out photographs.

    python benchmarks/ablations.py --photos photos/train --labelled COCO_MINI --data photos/held-out -w WORK

Every run is a `ptp` command, printed as it starts; what is in WORK already is not run again. Classification is the
task, because its teacher is published and its prompts need no labels. The codecs are `tiny` and trained for minutes:
differences count, not the figures themselves.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from environment import environment

from ptp_export.evaluation.curves.bjontegaard import RatePoint, delta_rate

PTP = Path(sys.executable).with_name("ptp")
#: Name of a codec → what its stage 1 is told beside what all are. Without the feature's error λ alone holds the rate
#: up: it is four times what it is elsewhere.
CODECS = {
    "checkerboard": ["--transform", "stem"],
    "zigzag": ["--transform", "stem", "--context", "zigzag"],
    "alpha 0": ["--transform", "stem", "--alpha", "0", "--lam", "0.002"],
}
#: Row of the table → its codec, and how the prompts are trained; None: silent prompts.
ROWS: dict[str, tuple[str, list[str] | None]] = {
    "all prompts": ("checkerboard", []),
    "no hyper-prompts": ("checkerboard", ["--no-hyper-prompts"]),
    "no prompts": ("checkerboard", None),
    "zigzag, all prompts": ("zigzag", []),
    "zigzag, no prompts": ("zigzag", None),
    "alpha 0, all prompts": ("alpha 0", []),
    "alpha 0, no prompts": ("alpha 0", None),
}
BASE = "all prompts"


@click.command()
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--labelled", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), multiple=True)
@click.option(
    "-w", "--work", type=click.Path(file_okay=False, path_type=Path), required=True, help="Kept between calls."
)
@click.option("--steps", type=click.IntRange(min=1), default=1200, show_default=True, help="Of stage 1.")
@click.option("--prompt-steps", type=click.IntRange(min=1), default=400, show_default=True, help="Of stage 2.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(
    photos: Path, labelled: Path, data: tuple[Path, ...], work: Path, steps: int, prompt_steps: int, output: Path | None
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    learned = ["--photos", photos, "--labelled", labelled, "--shards", 2, "--threads", 2]
    judged = [option for folder in (*data, labelled) for option in ("--data", folder)]
    rows: dict[str, Any] = {}
    for name, (codec, prompts) in ROWS.items():
        stage1, stage2 = work / codec.replace(" ", "-"), work / name.replace(" ", "-").replace(",", "")
        shape = ["--preset", "tiny", "--rates", 4, "--span", 10, "--batch", 8, "--crop", 128]
        _ptp(stage1 / "checkpoint", "train", "stage1", *shape, *CODECS[codec], *learned, "--steps", steps, "-o", stage1)
        how = ["--steps", 0] if prompts is None else [*prompts, "--steps", prompt_steps]
        cls = ["--task", "cls", "--lam", 0.25, "--kl-weight", 2, "--batch", 8]
        start = ["--checkpoint", stage1 / "checkpoint"]
        _ptp(stage2 / "checkpoint", "train", "stage2", *cls, *start, *learned, *how, "-o", stage2)
        found = stage2 / "eval.json"
        measured = ["--task", "cls", *judged, "--held-out", "--codecs", "", "--threads", 2, "--json", found]
        _ptp(found, "eval", stage2 / "checkpoint", *measured)
        document = json.loads(found.read_text(encoding="utf-8"))
        rows[name] = {"points": document["points"], "photos": len(document["photos"])}
    for row in rows.values():
        row["against_all_prompts"] = {
            figure: delta_rate(_curve(row, figure), _curve(rows[BASE], figure)).percent
            for figure in ("feature_error", "top1_agreement", "top5_agreement")
        }
    setting = {"steps": steps, "prompt_steps": prompt_steps, "preset": "tiny", "rates": 4}
    document = {"environment": environment(), "setting": setting, "rows": rows}
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, row in rows.items():
        print(f"{name:24}", row["against_all_prompts"])


def _ptp(result: Path, *arguments: object) -> None:
    if result.exists():
        return
    command = [str(PTP), *map(str, arguments)]
    print(f"ptp {shlex.join(command[1:])}", flush=True)
    subprocess.run(command, check=True)


def _curve(row: dict[str, Any], figure: str) -> list[RatePoint]:
    if figure == "feature_error":
        return [RatePoint(point["bpp"], -point["feature_error"]) for point in row["points"]]
    return [RatePoint(point["bpp"], point["figures"][figure]["value"]) for point in row["points"]]


if __name__ == "__main__":
    main()
