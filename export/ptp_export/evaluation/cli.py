"""``ptp eval``: a codec beside others, judged by the task's own teacher."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ptp_export.command import PtpCommand
from ptp_runtime.errors import UsageError

if TYPE_CHECKING:
    from ptp_export.evaluation.evaluate import Harness
    from ptp_export.evaluation.photo_list import PhotoList

_EPILOG = """\b
Examples:
  ptp eval demo
  ptp eval my-checkpoint --task seg --data photos --codecs jpeg,avif --json eval.json --html eval.html
  ptp eval bundle --checkpoint my-checkpoint --data coco-mini --held-out
  ptp eval my-checkpoint --entropic-student es-1/checkpoint --entropic-student es-4/checkpoint

\b
Exit codes: 0 done, 2 a request that makes no sense, 3 an unusable photo, 5 an unusable bundle or no such task,
7 an unusable checkpoint, 10 a package is missing.
"""


@click.command(cls=PtpCommand, name="eval", epilog=_EPILOG)
@click.argument("source", metavar="BUNDLE_OR_CHECKPOINT")
@click.option("--task", type=click.Choice(["seg", "det", "cls"]), help="[default: the bundle's; seg of a checkpoint]")
@click.option("--checkpoint", default="demo", show_default=True, help="The checkpoint that a bundle came from.")
@click.option(
    "--data",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photos, searched recursively, or of labelled photos in COCO's layout; repeatable.  "
    "[default: the shipped parity photographs]",
)
@click.option("--held-out", is_flag=True, help="Only photos that are known to be left out of training.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many photos, spread evenly.")
@click.option("--codecs", default="jpeg,webp,avif,hevc", show_default=True, help="Rivals, with commas; '' for none.")
@click.option(
    "--entropic-student",
    "students",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Also Entropic Student: folder of a checkpoint that ptp train entropic-student wrote; repeat it, one a rate.",
)
@click.option(
    "--rivals",
    "rivals_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Take the rivals' figures from this earlier --json of the same photos and teacher; only ours is measured.",
)
@click.option("--rates", metavar="N,N,...", help="Of a codec with several rates.  [default: all]")
@click.option("--backend", default="cpu", show_default=True, help="What runs the graphs: as for ptp infer.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the libraries' choice]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the intervals' resamples.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with curves.")
def eval_command(
    source: str,
    task: str | None,
    checkpoint: str,
    data: tuple[Path, ...],
    held_out: bool,
    limit: int | None,
    codecs: str,
    students: tuple[Path, ...],
    rivals_file: Path | None,
    rates: str | None,
    backend: str,
    threads: int | None,
    seed: int,
    json_file: Path | None,
    html_file: Path | None,
) -> None:
    """Measure a codec beside JPEG, WebP, AVIF and HEVC intra: bits, and what the task's network makes of the result.

    Every codec gets the same pixels, and the same teacher judges what comes out. Truth is the teacher's own answer on
    the uncompressed photo and, where the photos have labels, these too. Bits are those of real bytes over the pixels
    that the codec was given. Intervals are 95 %, by bootstrap over the photos.
    """
    for file in (json_file, html_file):
        if file is not None and not file.absolute().parent.is_dir():  # before minutes of work
            raise UsageError(f"{file} cannot be written", expected="a folder that exists", got=str(file.parent))
    import torch

    from ptp_export.evaluation import subject
    from ptp_export.evaluation.document import Request, document
    from ptp_export.evaluation.earlier import read_rivals
    from ptp_export.evaluation.evaluate import Harness, chosen_rates
    from ptp_export.evaluation.feature_codecs import entropic_students
    from ptp_export.evaluation.image_codecs import image_codec
    from ptp_export.evaluation.measures import measure_of
    from ptp_export.evaluation.photo_list import gather
    from ptp_export.evaluation.reference import Judge
    from ptp_runtime.atomic import write_bytes

    if threads is not None:
        torch.set_num_threads(threads)
    if rivals_file is not None:
        if students or click.get_current_context().get_parameter_source("codecs") is not ParameterSource.DEFAULT:
            raise UsageError("--rivals and rivals to be measured", expected="one of them", hint="leave --codecs out")
        codecs = ""
    rivals = tuple(image_codec(name.strip()) for name in dict.fromkeys(codecs.split(",")) if name.strip())
    name = subject.task_of(source, task)
    photos = gather(data, name, held_out, limit)
    with subject.opened(source, name, checkpoint, backend, threads, _Stages()) as measured:
        judge = Judge(measured.teacher)
        measure = measure_of(name, judge.classes)
        earlier = None
        if rivals_file is not None:
            identity = subject.teacher_sha256(measured.teacher)
            earlier = read_rivals(rivals_file, name, identity, photos.photos, seed)
        chosen = chosen_rates(measured.session, _numbers(rates))
        features = entropic_students(students, measured.teacher)
        harness = Harness(measured.session, chosen, rivals, judge, measure, threads or os.cpu_count() or 1, features)
        found = _run(harness, photos, seed)
        result = document(Request(source, threads or 0, seed, earlier), measured, photos, harness, found)
        _show(result)
        if json_file is not None:
            write_bytes(json_file, (json.dumps(result, indent=1) + "\n").encode())
        if html_file is not None:
            from ptp_export.evaluation.page import page_of

            write_bytes(html_file, page_of(result, harness, photos.photos, found).encode())


class _Stages:
    """Stages of an export, a line each, on stderr (see :class:`ptp_export.stages.StageWatcher`)."""

    def planned(self, count: int) -> None:
        """How many there will be."""
        click.echo(f"exporting the checkpoint, {count} stages", err=True)

    def started(self, name: str) -> None:
        """Only what is done is told."""

    def advanced(self, share: float, what: str) -> None:
        """Only what is done is told."""

    def finished(self, name: str, seconds: float) -> None:
        """A stage ended well."""
        click.echo(f"  {name}  {seconds:.1f} s", err=True)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--rates {text}", expected="whole numbers with commas between them", got=text or ""
        ) from error


def _run(harness: Harness, photos: PhotoList, seed: int) -> Any:
    from ptp_export.evaluation.progress import EvaluationBar

    with EvaluationBar(sys.stderr, len(photos.photos) * len(harness.settings)) as bar:
        return harness.run(photos.photos, seed, bar)


def _show(result: Mapping[str, Any]) -> None:
    from rich.console import Console

    from ptp_export.evaluation.tables import delta_table, point_table

    # A pipe has no width of its own; wrapped rows help nobody.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    click.echo(f"{result['title']} on {len(result['photos'])} photos: {result['photos_from']}.")
    console.print(point_table(result))
    if result["teacher_metric"] is not None:
        words = result["names"]["figures"][result["names"]["metric"]]
        click.echo(f"The teacher on the uncompressed photos: {result['teacher_metric']:.4f} {words}.")
    if result["bd_rate"]:
        click.echo()
        console.print(delta_table(result))
    for note in result["notes"]:
        click.echo(note)
