"""``ptp bulk``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ptp_runtime.backends import BACKEND_NAMES
from ptp_runtime.cli.options import bundle_argument, convert_option, json_option, print_json, rate_option, task_option

F = TypeVar("F", bound=Callable[..., Any])

SOME_FAILED = 13
"""Exit code where photos failed and all others are done."""


@click.group()
def bulk() -> None:
    """Code whole collections of photos; what was ended in the middle goes on where it was.

    SOURCE is a folder, a photo, a glob, a .tar file (WebDataset), or @FILE with one of these in each line. The same
    command again goes on with a run that was killed. At the end index.jsonl has a line for each photo, failures.jsonl
    one for each that failed; the results are the same bytes whatever the number of workers. The exit code is 0 where
    all photos have a result, 13 where some failed and all others are done.
    """


def _options(function: F) -> F:
    options = [
        bundle_argument,
        click.argument("sources", metavar="SOURCE...", nargs=-1, required=True),
        click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the results."),
        click.option(
            "--format",
            "layout",
            type=click.Choice(("files", "webdataset", "parquet")),
            default="files",
            show_default=True,
            help="One file for each result, tar files of WebDataset, or Parquet (extra bulk).",
        ),
        click.option("--workers", type=click.IntRange(1), help="Processes, or Ray's actors.  [default: usable cores]"),
        click.option(
            "--shard-size", type=click.IntRange(1), default=256, show_default=True, help="Photos in one piece of work."
        ),
        click.option("--ray", is_flag=True, help="On Ray Data (extra bulk-ray), on one machine or a cluster."),
        rate_option,
        task_option,
        convert_option,
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of each worker."),
        click.option(
            "--backend",
            type=click.Choice(BACKEND_NAMES),
            default="auto",
            show_default=True,
            help="Where to run the networks; auto takes the fastest that works here.",
        ),
        click.option(
            "--trust",
            help="Who vouches for the bundle's engines: the manifest's SHA-256 (see ptp sign), the PEM file of a public"
            " key, or any. Without it engines are left aside.",
        ),
        json_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@bulk.command()
@_options
def encode(**given: Any) -> int:
    """Photos to streams.

    \b
    Examples:
      ptp bulk encode BUNDLE photos/ -o STREAMS
      ptp bulk encode BUNDLE 'train-*.tar' -o STREAMS --format webdataset --workers 8
    """
    return _run("encode", **given)


@bulk.command()
@_options
def infer(**given: Any) -> int:
    """Photos to streams and what the task makes of them.

    \b
    Examples:
      ptp bulk infer BUNDLE photos/ -o RESULTS
      ptp bulk infer BUNDLE @list.txt -o RESULTS --format parquet --ray --workers 64
    """
    return _run("infer", **given)


def _run(
    operation: str,
    *,
    bundle: Path,
    sources: tuple[str, ...],
    output: Path,
    layout: str,
    workers: int | None,
    shard_size: int,
    ray: bool,
    rate: int | None,
    task: str | None,
    convert: bool,
    threads: int,
    backend: str,
    trust: str | None,
    as_json: bool,
) -> int:
    from ptp_runtime.bundle import Bundle
    from ptp_runtime.service.bulk.plan import Choices
    from ptp_runtime.service.bulk.run import run_bulk
    from ptp_runtime.speed import available_cores

    chosen = Bundle.open(bundle).manifest.task.name if task is None else task
    choices = Choices(operation, chosen, rate, convert, layout, shard_size)
    progress = _Progress(quiet=as_json)
    summary = run_bulk(
        bundle,
        sources,
        output,
        choices,
        workers=workers or max(1, available_cores() // threads),
        ray=ray,
        session={"backend": backend, "threads": threads, "trust": trust, "profile": "throughput"},
        began=progress.begin,
    )
    seconds = progress.end()
    if as_json:
        values = {"photos": summary.photos, "failed": summary.failed, "shards": summary.shards}
        print_json(values | {"shards_before": summary.shards_before, "seconds": round(seconds, 3), "output": output})
    else:
        click.echo(f"{summary.photos} photos → {output}")
        if summary.failed:
            click.echo(f"  {summary.failed} failed: see {output / 'failures.jsonl'}")
    return SOME_FAILED if summary.failed else 0


class _Progress:
    """A line on stderr: photos, rate, what is left. On a terminal it is rewritten; elsewhere printed now and then."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._start = self._last = time.monotonic()
        self._total = self._before = self._done = self._failed = 0

    def begin(self, total: int, before: int) -> Callable[[int, int], None]:
        """The run has begun."""
        self._total, self._before = total, before
        self._start = self._last = time.monotonic()
        if before and not self._quiet:
            click.echo(f"{before} of {total} photos are done already", err=True)
        return self._advance

    def end(self) -> float:
        """The run has ended; seconds that it took."""
        if self._terminal and not self._quiet:
            click.echo(err=True)
        return time.monotonic() - self._start

    def _advance(self, done: int, failed: int) -> None:
        self._done += done + failed
        self._failed += failed
        now = time.monotonic()
        if self._quiet or (not self._terminal and now - self._last < 10 and self._before + self._done < self._total):
            return
        self._last = now
        rate = self._done / max(1e-9, now - self._start)
        left = (self._total - self._before - self._done) / rate if rate else 0.0
        line = f"{self._before + self._done} of {self._total} photos, {rate:.1f} a second, {_duration(left)} left"
        line += f", {self._failed} failed" if self._failed else ""
        click.echo(f"\r{line}\x1b[K" if self._terminal else line, nl=not self._terminal, err=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
