"""How good the teachers are, on labelled photographs that nothing was trained on, beside baselines that they must beat.

    python benchmarks/teachers.py --data COCO_MINI [--checkpoint DIR] [--json FILE]

Four rows a task: the shipped head; the same head trained anew here, shorter, on the pretrained backbone; trained
likewise on a backbone of random weights (what pretraining brings is the difference of these two); and an answer that is
always the same: all background, or one box around the whole photograph with the commonest class.
"""

from __future__ import annotations

import ptp_model  # noqa: F401  # isort: skip  # makes torchvision importable beside a torch it was not built for

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from environment import environment

from ptp_export.evaluation.curves.bootstrap import Estimate, draws
from ptp_export.evaluation.measures import measure_of
from ptp_export.evaluation.photo_list import EvaluationPhoto, gather
from ptp_export.evaluation.reference import Judge
from ptp_model.checkpoint import DEMO, load
from ptp_model.teachers import Teacher, build
from ptp_model.teachers.lite0_teachers import Lite0Detector, Lite0Segmenter
from ptp_model.training.data import LabelledPhoto, read_labelled
from ptp_model.training.heads import detection, segmentation
from ptp_model.training.heads.no_pretraining import forget
from ptp_runtime.tasks import Detections, Segmentation, TaskOutput

Answers = Callable[[EvaluationPhoto], TaskOutput]


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path), default=DEMO)
@click.option(
    "--pool", type=click.IntRange(min=1), default=400, show_default=True, help="Crops of the short trainings."
)
@click.option("--epochs", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(data: Path, checkpoint: Path, pool: int, epochs: int, seed: int, output: Path | None) -> None:
    shipped = load(checkpoint).tasks
    tasks = {}
    for task in ("seg", "det"):
        seen = [photo for photo in read_labelled(data, masks=task == "seg") if not photo.held_out]
        judged = [photo for photo in gather([data], task, True, None).photos if _labelled(photo, task)]
        rows: dict[str, Answers] = {}
        if task in shipped:
            rows["shipped"] = _answers(shipped[task].teacher)
        rows["pretrained backbone, short training"] = _answers(_trained(task, seen, pool, epochs, seed, True))
        rows["random backbone, short training"] = _answers(_trained(task, seen, pool, epochs, seed, False))
        rows["always the same"] = _constant(task, seen)
        tasks[task] = {
            "photos": len(judged),
            "learned_from": len(seen),
            "rows": {name: _figures(task, judged, answers, seed) for name, answers in rows.items()},
        }
        print(json.dumps({task: tasks[task]}, indent=1), flush=True)
    document = {"environment": environment(), "setting": {"pool": pool, "epochs": epochs, "seed": seed}, "tasks": tasks}
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _labelled(photo: EvaluationPhoto, task: str) -> bool:
    return (photo.mask if task == "seg" else photo.boxes) is not None


def _trained(task: str, seen: Sequence[LabelledPhoto], pool: int, epochs: int, seed: int, pretrained: bool) -> Teacher:
    torch.manual_seed(seed)  # the head's first weights
    teacher = build("efficientnet-lite0", task)
    assert isinstance(teacher, Lite0Segmenter | Lite0Detector)
    if not pretrained:
        forget(teacher, seen, seed)
    if isinstance(teacher, Lite0Segmenter):
        settings = segmentation.SegmentationTraining(seed=seed, pool=pool, epochs=epochs)
        segmentation.train_head(teacher, segmentation.make_pool(teacher, seen, (), settings, print), settings, print)
    else:
        settings_det = detection.DetectionTraining(seed=seed, pool=pool, epochs=epochs)
        detection.prepare_head(teacher.head)
        detection.train_head(teacher, detection.make_pool(teacher, seen, settings_det, print), settings_det, print)
    return teacher


def _answers(teacher: Teacher) -> Answers:
    judge = Judge(teacher)

    def answer(photo: EvaluationPhoto) -> TaskOutput:
        pixels = photo.pixels()
        return judge.answer(judge.coded(pixels), (pixels.shape[0], pixels.shape[1])).output

    return answer


def _constant(task: str, seen: Sequence[LabelledPhoto]) -> Answers:
    classes = Judge(build("efficientnet-lite0", task)).classes
    commonest = Counter(int(label) for photo in seen for label in photo.labels).most_common(1)[0][0]

    def answer(photo: EvaluationPhoto) -> TaskOutput:
        height, width = photo.pixels().shape[:2]
        if task == "seg":
            return Segmentation(np.zeros((height, width), np.uint8), classes)
        box = np.array([[0, 0, width, height]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.array([commonest], np.int64), classes)

    return answer


def _figures(task: str, photos: Sequence[EvaluationPhoto], answers: Answers, seed: int) -> dict[str, Any]:
    """The figures against labels with their intervals."""
    measure = measure_of(task, Judge(build("efficientnet-lite0", task)).classes)
    records = []
    for photo in photos:
        output = answers(photo)
        records.append(measure.record(output, output, measure.labels(photo)))
    found = measure.summary(records, draws(len(photos), seed))
    return {name: _written(found[name]) for name in ("miou", "map", "ap50") if name in found}


def _written(estimate: Estimate) -> dict[str, float]:
    return {"value": round(estimate.value, 4), "low": round(estimate.low, 4), "high": round(estimate.high, 4)}


if __name__ == "__main__":
    main()
