"""``ptp train``: the two stages of training as commands, and the baseline's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ptp_export.command import PtpCommand
from ptp_export.entropic_student_cli import entropic_student_command
from ptp_export.training_photos import batches_of, gather
from ptp_export.training_run import prepare, run_options, shown, typed_errors
from ptp_model import checkpoint, teachers
from ptp_model.codec import FeatureCodec
from ptp_model.gains import respread
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import CONTEXTS, PRESETS, TRANSFORMS, ModelSpec, preset
from ptp_model.training import compute
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.loop import LoopConfig
from ptp_model.training.lower_rates import LowerRatesConfig, lower_span, train_lower_rates, with_lower_rates
from ptp_model.training.stage1 import Stage1Config, train_stage1
from ptp_model.training.stage2 import Stage2Config, train_stage2
from ptp_runtime.errors import CheckpointError, UsageError


@click.group("train")
def train_command() -> None:
    """Train the universal codec (stage1), then a task's prompts (stage2); or a baseline to compare with.

    \b
    ptp train stage1 --photos DIR -o runs/codec
    ptp train stage2 --task seg --checkpoint runs/codec/checkpoint --head seg.safetensors --photos DIR -o runs/seg
    """


train_command.add_command(entropic_student_command)


@train_command.command("stage1", cls=PtpCommand)
@click.option("--preset", "preset_name", type=click.Choice(sorted(PRESETS)), default="tiny", show_default=True)
@click.option("--transform", type=click.Choice(TRANSFORMS), default="cnn", show_default=True)
@click.option("--context", type=click.Choice(CONTEXTS), default="checkerboard", show_default=True)
@click.option(
    "--teacher-weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="State dict of the teacher, where no package carries it (resnet50).",
)
@click.option("--lam", default=Stage1Config.lam, show_default=True, help="λ, weight of 255²·MSE of the image.")
@click.option(
    "--alpha", default=Stage1Config.alpha, show_default=True, help="α, weight of the feature error; 0: the paper."
)
@click.option(
    "--beta",
    default=Stage1Config.beta,
    show_default=True,
    help="β, weight of the error of deeper features; 0: the paper.",
)
@click.option("--rates", default=1, show_default=True, help="How many rates one set of weights serves.")
@click.option(
    "--span",
    default=Stage1Config.span,
    show_default=True,
    help="By how much λ, α and β are smaller at the lowest of several rates.",
)
@click.option(
    "--image-crops",
    default=Stage1Config.image_crops,
    show_default=True,
    help="How many crops of a batch also go through the image extractor.",
)
@click.option(
    "--start",
    help="Checkpoint to start from, of the same spec but for the number of rates (its tasks are left behind).",
)
@run_options
def stage1_command(
    preset_name: str,
    transform: str,
    context: str,
    teacher_weights: Path | None,
    lam: float,
    alpha: float,
    beta: float,
    rates: int,
    span: float,
    image_crops: int,
    start: str | None,
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
    """Train the universal codec on photographs, without prompts."""
    with typed_errors():
        prepare(threads, crop, seed)
        where = compute.chosen(device, precision, workers)
        spec = preset(preset_name, transform=transform, context=context, rates=rates)
        codec = FeatureCodec(spec)
        earlier: Mapping[str, Any] = {}
        if start is not None:
            codec, earlier = _started(start, spec, span)
        found = gather(photos, labelled, frozenset(earlier.get("held_out", ())))
        crops = PhotoCrops(found.files, crop, seed + 1)
        teacher = teachers.build(spec.teacher, "seg", teacher_weights)
        loop = LoopConfig(steps, learning_rate, muon_rate, seed=seed, shards=shards)
        config = Stage1Config(lam, alpha, beta, batch, image_crops, span)
        with shown(steps, output, tensorboard) as watch:
            train_stage1(codec, teacher, crops, config, loop, output, watch, where, fresh=start is None)
        run = {
            "steps": steps,
            "crop": crop,
            "batch": batch,
            "learning_rate": learning_rate,
            "muon_rate": muon_rate,
            "lambda": lam,
            "alpha": alpha,
            "beta": beta,
            "span": span,
            "seed": seed,
            "photographs": len(crops.photos),
        }
        provenance = {"stage1": [*earlier.get("stage1", ()), run], "held_out": sorted(found.held_out)}
        digest = checkpoint.save(output / "checkpoint", codec, {}, provenance, half=half)
        click.echo(f"{output / 'checkpoint'}: digest {digest[:16]}")


@train_command.command("rates", cls=PtpCommand)
@click.option("--checkpoint", "source", default="demo", show_default=True, help="Of several rates.")
@click.option("--below", type=click.IntRange(1, 200), default=2, show_default=True, help="How many.")
@click.option(
    "--teacher-weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="As for stage1, of a checkpoint that has no tasks.",
)
@click.option("--alpha", default=LowerRatesConfig.alpha, show_default=True, help="α, weight of the feature error.")
@run_options
def rates_command(
    source: str,
    below: int,
    teacher_weights: Path | None,
    alpha: float,
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
    """Add rates below those of a checkpoint: their gains are trained, and nothing else.

    Networks, prompts and engines stay as they are, and so does what the other rates give; only their numbers go up.
    """
    with typed_errors():
        prepare(threads, crop, seed)
        where = compute.chosen(device, precision, workers)
        start = checkpoint.load(source)
        rates = start.spec.rates
        if rates < 2:
            raise CheckpointError(
                f"{source} has one rate",
                expected="several, whose gains show where lower ones lie",
                got=_outline(start.spec),
                hint="train it with --rates",
            )
        found = gather(photos, labelled, frozenset(start.provenance.get("held_out", ())))
        crops = PhotoCrops(found.files, crop, seed + 1)
        span = _wide_span(source, start.provenance)
        codec, new_span = with_lower_rates(start.codec, span, below), lower_span(span, rates, below)
        # One small tensor, and no layer, for Muon's step.
        loop = LoopConfig(steps, learning_rate, muon_rate, ema=0.98, seed=seed, shards=shards)
        prompts = [task.prompts for task in start.tasks.values()]
        config = LowerRatesConfig(below, alpha, batch)
        own = next((task.teacher for task in start.tasks.values()), None)
        teacher = own or teachers.build(start.spec.teacher, "seg", teacher_weights)
        with shown(steps, output, tensorboard) as watch:
            train_lower_rates(codec, prompts, teacher, crops, new_span, config, loop, output, watch, where)
        run = {
            "gains_only_below": rates,
            "steps": steps,
            "crop": crop,
            "batch": batch,
            "learning_rate": learning_rate,
            "alpha": alpha,
            "span": new_span,
            "seed": seed,
            "photographs": len(crops.photos),
        }
        provenance = dict(start.provenance) | {
            "stage1": [*start.provenance.get("stage1", ()), run],
            "held_out": sorted(found.held_out),
        }
        digest = checkpoint.save(output / "checkpoint", codec, start.tasks, provenance, half=half)
        click.echo(f"{output / 'checkpoint'}: digest {digest[:16]}")


@train_command.command("stage2", cls=PtpCommand)
@click.option("--task", type=click.Choice(["seg", "det", "cls"]), required=True)
@click.option("--checkpoint", "source", default="demo", show_default=True, help="Checkpoint of stage 1.")
@click.option(
    "--head",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The teacher's weights: its trained head, or a torchvision state dict; cls needs none.",
)
@click.option("--lam", default=Stage2Config.lam, show_default=True, help="λ, weight of the rate.")
@click.option("--kl-weight", default=Stage2Config.kl_weight, show_default=True, help="Weight of the KL term.")
@click.option(
    "--emphasis",
    default=Stage2Config.emphasis,
    show_default=True,
    help="Of several rates: above 0.5 the high ones count more in the loss.",
)
@click.option("--start", "earlier", help="Checkpoint with prompts of the task to start from.  [default: silent ones]")
@click.option("--no-hyper-prompts", is_flag=True, help="Train p_ga and p_gs alone: the paper's ablation.")
@run_options
def stage2_command(
    task: str,
    source: str,
    head: Path | None,
    lam: float,
    kl_weight: float,
    emphasis: float,
    earlier: str | None,
    no_hyper_prompts: bool,
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
    """Train the prompts of one task; codec and teacher stay frozen."""
    with typed_errors():
        prepare(threads, crop, seed)
        where = compute.chosen(device, precision, workers)
        start = checkpoint.load(source)
        teacher = _teacher(start, source, task, head)
        crop = _side(teacher, crop)
        found = gather(photos, labelled, frozenset(start.provenance.get("held_out", ())), masks=task == "seg")
        batches, photographs = batches_of(found, task, crop, seed + 1)
        prompts, before = (TaskPrompts(start.spec), None) if earlier is None else _prompts(earlier, task, start.spec)
        config, loop = (
            Stage2Config(lam, kl_weight, batch, _span(start.provenance), emphasis, not no_hyper_prompts),
            LoopConfig(steps, learning_rate, muon_rate, seed=seed, shards=shards),
        )
        with shown(steps, output, tensorboard) as watch:
            train_stage2(start.codec, prompts, teacher, batches, config, loop, output, watch, where)
        provenance = dict(start.provenance) | {
            f"stage2.{task}": {
                "steps": steps,
                "crop": crop,
                "batch": batch,
                "lambda": lam,
                "kl_weight": kl_weight,
                "emphasis": emphasis,
                "hyper_prompts": not no_hyper_prompts,
                "start": before,
                "seed": seed,
                "photographs": photographs,
            },
            "held_out": sorted(found.held_out),
        }
        tasks = dict(start.tasks) | {task: checkpoint.TaskModel(prompts, teacher)}
        digest = checkpoint.save(output / "checkpoint", start.codec, tasks, provenance, half=half)
        click.echo(f"{output / 'checkpoint'}: digest {digest[:16]}")


def _teacher(start: checkpoint.Checkpoint, source: str, task: str, head: Path | None) -> teachers.Teacher:
    """The checkpoint's own teacher, or one with the given weights, or one that its package holds whole."""
    if head is None and task in start.tasks:
        return start.tasks[task].teacher
    teacher = teachers.build(start.spec.teacher, task, head)
    if head is None and teacher.head_state():
        raise CheckpointError(
            f"{source} has no teacher for {task}", expected="a trained head", got="none", hint="give --head FILE"
        )
    return teacher


def _prompts(source: str, task: str, spec: ModelSpec) -> tuple[TaskPrompts, Any]:
    """The prompts of a task from a checkpoint, and how they were trained; they do not depend on the number of rates."""
    loaded = checkpoint.load(source)
    if task not in loaded.tasks or not _same_networks(loaded.spec, spec):
        raise CheckpointError(
            f"{source} has no prompts to start from",
            expected=f"those of {task}, {_outline(spec)}",
            got=f"{', '.join(sorted(loaded.tasks)) or 'no task'}, {_outline(loaded.spec)}",
            hint="leave --start out, or give a checkpoint of the same codec",
        )
    return loaded.tasks[task].prompts.requires_grad_(True), loaded.provenance.get(f"stage2.{task}")


def _side(teacher: teachers.Teacher, crop: int) -> int:
    """Side of the crops, pixels: a classifier has its own, which nobody may choose."""
    own = teacher.spec.resize.crop if teacher.spec.resize is not None else 0
    source = click.get_current_context().get_parameter_source("crop")
    if own and source is not click.core.ParameterSource.DEFAULT:
        raise UsageError(
            f"--crop {crop}", expected=f"no --crop: this teacher sees {own}×{own} pixels", hint="leave it out"
        )
    return own or crop


def _started(start: str, spec: ModelSpec, span: float) -> tuple[FeatureCodec, Mapping[str, Any]]:
    """Codec and provenance of an earlier checkpoint of the same spec; other rates lie between and below its own."""
    loaded = checkpoint.load(start)
    codec, rates = loaded.codec, loaded.spec.rates
    if min(rates, spec.rates) > 1 and _same_networks(loaded.spec, spec) and rates != spec.rates:
        codec = FeatureCodec(spec)
        state = loaded.codec.state_dict()
        gains = respread(state["gains.octaves"], _wide_span(start, loaded.provenance), spec.rates, span)
        codec.load_state_dict(state | {"gains.octaves": gains})
    elif loaded.spec != spec:
        raise CheckpointError(
            f"{start} is of another spec",
            expected=_outline(spec),
            got=_outline(loaded.spec),
            hint="give the same --preset, --transform and --context, and --rates as it has or both above 1",
        )
    return codec, loaded.provenance


def _same_networks(one: ModelSpec, other: ModelSpec) -> bool:
    """Whether two codecs differ in their rates at most."""
    return replace(one, rates=other.rates, default_rate=other.default_rate) == other


def _span(provenance: Mapping[str, Any]) -> float:
    """What the weights of stage 1 spanned from the lowest to the highest rate."""
    runs = provenance.get("stage1", ())
    return float(runs[-1].get("span", 1.0)) if isinstance(runs, list) and runs else 1.0


def _wide_span(source: str, provenance: Mapping[str, Any]) -> float:
    """The same of a checkpoint whose gains are to be spread, for which it must be known and above 1."""
    span = _span(provenance)
    if not span > 1:
        raise CheckpointError(
            f"how far apart the rates of {source} are is not known",
            expected="a span above 1 in the provenance of its last run of stage 1",
            got=f"{span:g}",
            hint="train it on with as many rates as it has (ptp train stage1 --start), which writes the span down",
        )
    return span


def _outline(spec: ModelSpec) -> str:
    return f"preset {spec.preset}, {spec.transform}, {spec.context}, rates {spec.rates}"
