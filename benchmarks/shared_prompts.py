"""A shared bundle beside bundles of one task: time, size, and what another task makes of a stream.

    python benchmarks/shared_prompts.py SHARED BUNDLE... --data FOLDER... [--json FILE]

Times are of one photograph, all bundles in turn in one process, medians of the rounds. Each stream of each task is
shown to each task, on held-out photographs cropped to the classifier's 224 × 224, so that all tasks see the same
pixels; every answer is weighed against that task's own teacher on the uncompressed crop.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import click
import numpy as np
from environment import environment
from PIL import Image

from ptp_export.evaluation.curves.bootstrap import draws
from ptp_export.evaluation.measures import measure_of
from ptp_export.evaluation.photo_list import gather
from ptp_export.evaluation.reference import Judge
from ptp_export.oracle.checkpoint_task import load_task
from ptp_export.photos import demo_photo
from ptp_runtime import Bundle, Session, SharedSession

ROUNDS = 15
SIZE = (768, 512)
SEED = 0


def times(shared: SharedSession, singles: dict[str, Session]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of each task: ``shared`` and ``single``, to encode and to decode."""
    with Image.open(demo_photo().path) as image:
        photo = np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC))
    taken: dict[str, dict[str, dict[str, list[float]]]] = {
        task: {kind: {"encode": [], "decode": []} for kind in ("shared", "single")} for task in singles
    }
    for number in range(ROUNDS + 1):
        for task, single in singles.items():
            for kind, session in (("shared", shared.session(task)), ("single", single)):
                encoded = session.encode_detailed(photo, keep_steps=False)
                decoded = session.decode_detailed(encoded.data, keep_steps=False)
                if number:  # the first warms up
                    taken[task][kind]["encode"].append(sum(encoded.milliseconds.values()))
                    taken[task][kind]["decode"].append(sum(decoded.milliseconds.values()))
    return {
        task: {
            kind: {what: round(statistics.median(values), 2) for what, values in of.items()}
            for kind, of in kinds.items()
        }
        for task, kinds in taken.items()
    }


def crossed(shared: SharedSession, folders: list[Path]) -> list[dict[str, Any]]:
    """Each task's figure on each task's streams."""
    photos = [photo.pixels() for photo in gather(folders, "cls", True, None).photos]
    judges = {}
    for task in shared.tasks:
        teacher = load_task("demo", task).chain.teacher
        if teacher is not None:
            judges[task] = Judge(teacher)
    crops = [judges["cls"].coded(photo) for photo in photos]
    eight = [np.clip(np.rint(crop), 0, 255).astype(np.uint8) for crop in crops]
    answers = {
        task: [judge.answer(crop, crop.shape[:2]).output for crop in (crops if task == "cls" else eight)]
        for task, judge in judges.items()
    }
    rows = []
    counts = draws(len(photos), SEED)
    for coded_for in judges:
        # The classifier's session crops the photograph itself; the others are given the crop.
        given = photos if coded_for == "cls" else eight
        streams = [shared.encode(photo, task=coded_for) for photo in given]
        bpp = float(np.mean([8 * len(data) / 224**2 for data in streams]))
        for shown_to, judge in judges.items():
            measure = measure_of(shown_to, judge.classes)
            outputs = [shared.decode(data, task=shown_to) for data in streams]
            records = [
                measure.record(output, answer, None) for output, answer in zip(outputs, answers[shown_to], strict=True)
            ]
            found = measure.summary(records, counts)[measure.fidelity]
            rows.append(
                {
                    "coded_for": coded_for,
                    "shown_to": shown_to,
                    "photos": len(photos),
                    "bpp": bpp,
                    "figure": measure.words[measure.fidelity],
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                }
            )
            print(rows[-1])
    return rows


def sizes(bundle: Bundle) -> dict[str, int]:
    """Bytes of the graphs, of each prompt, of everything."""
    manifests = [bundle.of_task(task).manifest for task in bundle.tasks]
    files = {entry.file: bundle.verify(entry) for manifest in manifests for entry in manifest.files()}
    return {
        "all": sum(files.values()),
        "prompts": sum(size for file, size in files.items() if file.startswith("prompts/")),
        "heads": sum(size for file, size in files.items() if file.startswith("graphs/head")),
    }


@click.command()
@click.argument("shared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("bundles", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", multiple=True, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(shared: Path, bundles: tuple[Path, ...], data: tuple[Path, ...], output: Path | None) -> None:
    singles = {}
    for path in bundles:
        session = Session.open(path, backend="cpu")
        singles[session.manifest.task.name] = session
    with SharedSession.open(shared, backend="cpu") as opened:
        measured = times(opened, singles)
        print(measured)
        rows = crossed(opened, list(data))
    document = {
        "environment": environment(),
        "rounds": ROUNDS,
        "size": list(SIZE),
        "milliseconds": measured,
        "bytes": {"shared": sizes(Bundle.open(shared))}
        | {task: sizes(session.bundle) for task, session in singles.items()},
        "crossed": rows,
    }
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
