"""What all training commands share: their options, how a run is shown, and errors as sentences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch

from ptp_export.training_board import Board
from ptp_export.training_progress import TrainingProgress
from ptp_model.errors import MissingLibraryError, ModelError
from ptp_model.training.compute import DeviceError
from ptp_model.training.loop import Watch
from ptp_model.training.split import SplitError
from ptp_runtime.errors import CheckpointError, MissingExtraError, UsageError

Command = Callable[..., None]


def run_options(function: Command) -> Command:
    """Options that all of them have."""
    options = [
        click.option(
            "--photos",
            "photos",
            multiple=True,
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder of photographs (repeatable); searched recursively.",
        ),
        click.option(
            "--labelled",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="COCO 2017 as downloaded, or a folder with images/, instances.json and masks/; "
            "its held-out part is never trained on.",
        ),
        click.option("--steps", default=12000, show_default=True, help="Optimiser steps in all."),
        click.option(
            "--crop",
            default=192,
            show_default=True,
            help="Side of the crops, pixels; a multiple of 64. Not for cls: its classifier's size.",
        ),
        click.option("--batch", default=4, show_default=True),
        click.option("--learning-rate", default=1e-3, show_default=True, help="Peak, of Adam."),
        click.option("--muon-rate", default=0.02, show_default=True, help="Peak, of Muon; 0: Adam trains everything."),
        click.option("--seed", default=0, show_default=True),
        click.option("--threads", default=0, help="CPU threads; 0 leaves torch's choice."),
        click.option(
            "--shards", default=1, show_default=True, help="Parts of a batch computed side by side, a CPU core each."
        ),
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True),
        click.option(
            "--precision",
            type=click.Choice(["auto", "float32", "bfloat16"]),
            default="auto",
            show_default=True,
            help="Of transforms and teacher; auto: bfloat16 on cuda. Entropy path and losses stay in float32.",
        ),
        click.option(
            "--workers", type=click.IntRange(min=0), help="Threads that prepare crops ahead; 4 on cuda, else 0."
        ),
        click.option("--half", is_flag=True, help="Store the result's weights in FP16: half the size."),
        click.option("--tensorboard", is_flag=True, help="Also write curves into the run's folder."),
        click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(file_okay=False, path_type=Path),
            help="Run folder: state, metrics.jsonl and, at the end, checkpoint/. Call again to resume.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def prepare(threads: int, crop: int, seed: int) -> None:
    """Set torch's threads and random numbers.

    Raises:
        UsageError: crops of a side that no codec takes.
    """
    if crop % 64 or crop <= 0:
        raise UsageError(f"--crop {crop}", expected="a positive multiple of 64", hint="192 or 256 are usual")
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)


@contextmanager
def shown(steps: int, output: Path, tensorboard: bool) -> Iterator[Watch]:
    """Progress of a run; TensorBoard's files go into the run's folder."""
    board = Board(output / "tensorboard") if tensorboard else None
    with TrainingProgress(sys.stderr, steps, click.echo, board) as progress:
        yield progress.watch


@contextmanager
def typed_errors() -> Iterator[None]:
    """What the model package raises, as errors of the tree that commands turn into sentences."""
    try:
        yield
    except MissingLibraryError as error:
        raise MissingExtraError(str(error)) from error
    except (SplitError, DeviceError) as error:
        raise UsageError(str(error)) from error
    except ModelError as error:
        raise CheckpointError(str(error)) from error
    except (FileNotFoundError, FloatingPointError) as error:
        raise UsageError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise UsageError("the GPU's memory is full", hint="give a smaller --batch or --crop") from error
