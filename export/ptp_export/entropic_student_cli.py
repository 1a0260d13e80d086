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
from ptp_runtime.errors import UsageError


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
@click.option(
    "--start",
    type=click.Path(exists=True, path_type=Path),
    help="Checkpoint of an earlier run to start from: a low β alone silences a fresh student for good.",
)
@run_options
def entropic_student_command(
    teacher_name: str,
    teacher_weights: Path | None,
    beta: float,
    start: Path | None,
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
        earlier = None if start is None else _started(start, teacher)
        student = EntropicStudent(teacher_name) if earlier is None else earlier.student
        loop = LoopConfig(steps, learning_rate, muon_rate, seed=seed, shards=shards)
        with shown(steps, output, tensorboard) as watch:
            train_entropic_student(
                student, teacher, crops, StudentConfig(beta, batch), loop, output, watch, where, fresh=earlier is None
            )
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
        if earlier is not None:
            provenance["start"] = {"weights": earlier.sha256, "beta": earlier.beta, "run": dict(earlier.provenance)}
        folder = output / "checkpoint"
        digest = student_checkpoint.save(folder, student, teacher, beta, provenance, half=half)
        click.echo(f"{folder}: weights {digest[:16]}")


def _started(start: Path, teacher: teachers.Teacher) -> student_checkpoint.StudentCheckpoint:
    earlier = student_checkpoint.load(start)
    if earlier.stem_sha256 != student_checkpoint.stem_digest(teacher):
        raise UsageError(
            f"the student in {start} imitates another teacher",
            expected=f"stem {student_checkpoint.stem_digest(teacher)[:16]}",
            got=f"stem {earlier.stem_sha256[:16]} ({earlier.student.teacher})",
            hint="give the same --teacher and --teacher-weights as its run had",
        )
    return earlier
