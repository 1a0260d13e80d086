"""``python -m ptp_model.training.heads``: train a small teacher's own head."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import torch
from safetensors.torch import save

from ptp_model.errors import ModelError
from ptp_model.teachers.lite0_teachers import Lite0Detector, Lite0Segmenter, build
from ptp_model.training import split
from ptp_model.training.data import LabelledPhoto, read_cutouts, read_labelled
from ptp_model.training.heads import detection, segmentation


class _Log:
    """JSON lines beside the head, and on the terminal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("", encoding="utf-8")

    def __call__(self, figures: Mapping[str, object]) -> None:
        line = json.dumps(figures)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        click.echo(line)


@click.command()
@click.argument("task", type=click.Choice(["seg", "det"]))
@click.option(
    "--data", "folder", type=click.Path(path_type=Path), required=True, help="images/, instances.json, masks/."
)
@click.option(
    "--cutouts", type=click.Path(path_type=Path), help="seg: JSON object of RGBA pictures and their VOC classes."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--pool", type=click.IntRange(min=1), help="Augmented crops.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over them.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(
    task: str, folder: Path, cutouts: Path | None, output: Path, pool: int | None, epochs: int | None, seed: int
) -> None:
    """Train the head of TASK on the labelled photographs that are not held out, then report figures on the others."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    chosen = {"seed": seed} | {name: value for name, value in (("pool", pool), ("epochs", epochs)) if value is not None}
    try:
        torch.manual_seed(seed)  # the head's first weights
        teacher = build(task, None)
        log = _Log(output.with_suffix(".jsonl"))
        photos = read_labelled(folder, masks=task == "seg")
        seen, held_out = ([photo for photo in photos if photo.held_out is side] for side in (False, True))
        split.refuse_reserved(photo.image_path for photo in seen)
        figures: dict[str, object] = {}
        if isinstance(teacher, Lite0Segmenter):
            figures = _segmentation(teacher, seen, held_out, cutouts, chosen, log)
        elif isinstance(teacher, Lite0Detector):
            figures = _detection(teacher, seen, held_out, chosen, log)
        _write(output, save(teacher.head_state()))
    except (ModelError, OSError) as error:
        raise click.ClickException(str(error)) from error
    log({"held_out_photographs": len(held_out), **figures})


def _segmentation(
    teacher: Lite0Segmenter,
    seen: Sequence[LabelledPhoto],
    held_out: Sequence[LabelledPhoto],
    cutouts: Path | None,
    chosen: Mapping[str, int],
    log: _Log,
) -> dict[str, object]:
    config = segmentation.SegmentationTraining(**chosen)  # type: ignore[arg-type]  # whole numbers by name
    objects = read_cutouts(cutouts) if cutouts is not None else ()
    pool = segmentation.make_pool(teacher, seen, objects, config, log)
    segmentation.train_head(teacher, pool, config, log)
    teacher.load_head_state(teacher.head_state())  # figures are those of the rounded head that is written
    result = segmentation.evaluate(teacher, [photo for photo in held_out if photo.has_mask])
    classes = zip(teacher.spec.classes, result.class_iou, strict=True)
    return {
        "mean_iou": result.mean_iou,
        "mean_iou_present": result.mean_iou_present,
        "pixel_accuracy": result.pixel_accuracy,
        "class_iou": {name: value for name, value in classes if math.isfinite(value)},
    }


def _detection(
    teacher: Lite0Detector,
    seen: Sequence[LabelledPhoto],
    held_out: Sequence[LabelledPhoto],
    chosen: Mapping[str, int],
    log: _Log,
) -> dict[str, object]:
    config = detection.DetectionTraining(**chosen)  # type: ignore[arg-type]  # whole numbers by name
    detection.prepare_head(teacher.head)
    pool = detection.make_pool(teacher, seen, config, log)
    detection.train_head(teacher, pool, config, log)
    teacher.load_head_state(teacher.head_state())
    return {"average_precision_50": detection.evaluate(teacher, held_out)}


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


if __name__ == "__main__":
    main()
