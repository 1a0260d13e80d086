"""``ptp train entropic-student``: the baseline that our codec is measured against, at one rate."""

from __future__ import annotations

from pathlib import Path

import click

from ptp_export.command import PtpCommand
from ptp_export.training_photos import gather
from ptp_export.training_run import prepare, run_options, shown, typed_errors
from ptp_model import teachers
from ptp_model.baselines import student_checkpoint
from ptp_model.baselines.entropic_student import EntropicStudent
from ptp_model.training import compute
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.entropic_student import StudentConfig, train_entropic_student
from ptp_model.training.loop import LoopConfig


@click.command("entropic-student", cls=PtpCommand)
@click.option(
    "--teacher",
    "teacher_name",
    type=click.Choice(teachers.NAMES),
    default=teachers.NAMES[0],
    show_default=True,
    help="Whose feature it imitates: that of the codec it will be compared with.",
)
@click.option(
    "--teacher-weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="State dict of the teacher, where no package carries it (resnet50).",
)
@click.option(
    "--beta", default=StudentConfig.beta, show_default=True, help="β, weight of the feature error; sets the rate."
)
@run_options
def entropic_student_command(
    teacher_name: str,
    teacher_weights: Path | None,
    beta: float,
    photos: tuple[Path, ...],
    labelled: Path | None,
    steps: int,
    crop: int,
    batch: int,
    learning_rate: float,
    muon_rate: float,
    seed: int,
    threads: int,
    shards: int,
    device: str,
    precision: str,
    workers: int | None,
    half: bool,
    tensorboard: bool,
    output: Path,
) -> None:
    """Train the baseline Entropic Student on photographs: one run a rate, which β decides.

    Photographs, crops, teacher and loop are those of stage1. `ptp eval --entropic-student` takes the results.
    """
    with typed_errors():
        prepare(threads, crop, seed)
        where = compute.chosen(device, precision, workers)
        found = gather(photos, labelled, frozenset())
        crops = PhotoCrops(found.files, crop, seed + 1)
        teacher = teachers.build(teacher_name, "seg", teacher_weights)
        student = EntropicStudent(teacher_name)
        loop = LoopConfig(steps, learning_rate, muon_rate, seed=seed, shards=shards)
        with shown(steps, output, tensorboard) as watch:
            train_entropic_student(student, teacher, crops, StudentConfig(beta, batch), loop, output, watch, where)
        provenance = {
            "steps": steps,
            "crop": crop,
            "batch": batch,
            "learning_rate": learning_rate,
            "muon_rate": muon_rate,
            "seed": seed,
            "photographs": len(crops.photos),
            "held_out": sorted(found.held_out),
        }
        folder = output / "checkpoint"
        digest = student_checkpoint.save(folder, student, teacher, beta, provenance, half=half)
        click.echo(f"{folder}: weights {digest[:16]}")
