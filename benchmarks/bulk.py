"""Throughput of ``ptp bulk``: photos a second with one worker and with two, in turn, and that the results are the same.

    python benchmarks/bulk.py BUNDLE --json benchmarks/results/bulk.json

Each run codes the shipped photographs several times over (as files of their own) into a new folder. The rate is that
between the first finished shard and the last, so that opening the sessions, which a run of a million does once, does
not count; how long a whole run took stands beside it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from environment import environment

from ptp_export.photos import photos
from ptp_runtime.bundle import Bundle
from ptp_runtime.service.bulk.plan import Choices
from ptp_runtime.service.bulk.run import run_bulk

SHARD = 3
OPERATIONS = ("encode", "infer")


def _source(folder: Path, copies: int) -> int:
    """The shipped photographs, several times; photos of all sizes in each shard."""
    found = [photo.path for group in ("calibration", "parity") for photo in photos(group)]
    for copy in range(copies):
        for path in found:
            shutil.copy(path, folder / f"{copy:02d}-{path.name}")
    return copies * len(found)


def _once(bundle: Path, source: Path, operation: str, workers: int) -> tuple[dict[str, float], str]:
    """Rates of one run, and a digest of all its results."""
    times: list[tuple[float, int]] = []

    def began(_: int, __: int) -> Callable[[int, int], None]:
        return lambda done, failed: times.append((time.perf_counter(), done + failed))

    task = Bundle.open(bundle).manifest.task.name
    with tempfile.TemporaryDirectory(prefix="ptp-bulk-") as name:
        begin = time.perf_counter()
        choices = Choices(operation, task, None, False, "files", SHARD)
        run_bulk(
            bundle,
            [str(source)],
            Path(name) / "out",
            choices,
            workers=workers,
            session={"threads": 1, "profile": "throughput"},
            began=began,
        )
        took = time.perf_counter() - begin
        digest = hashlib.sha256()
        for path in sorted((Path(name) / "out").rglob("*")):
            if path.is_file():
                digest.update(path.relative_to(name).as_posix().encode() + path.read_bytes())
    # From when every worker has finished its first shard: they do not open at the same moment.
    first = times[workers - 1][0]
    steady = sum(count for when, count in times if when > first) / (times[-1][0] - first)
    return {"photos_a_second": steady, "seconds": took}, digest.hexdigest()


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--copies", default=12, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(bundle: Path, copies: int, rounds: int, output: Path | None) -> None:
    """Measure; exit code 1 where the results differ between runs."""
    results: dict[str, Any] = {}
    same = True
    with tempfile.TemporaryDirectory(prefix="ptp-bulk-") as name:
        count = _source(Path(name), copies)
        for operation in OPERATIONS:
            runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
            digests = set()
            for _ in range(rounds):
                for workers in runs:
                    run, digest = _once(bundle, Path(name), operation, workers)
                    runs[workers].append(run)
                    digests.add(digest)
                    print(operation, workers, run)
            rate = {n: statistics.median(run["photos_a_second"] for run in all_) for n, all_ in runs.items()}
            results[operation] = {
                "photos_a_second": {str(n): round(value, 3) for n, value in rate.items()},
                "seconds": {
                    str(n): round(statistics.median(run["seconds"] for run in all_), 2) for n, all_ in runs.items()
                },
                "two_over_one": round(rate[2] / rate[1], 3),
                "identical": len(digests) == 1,
            }
            same &= len(digests) == 1
    document = {"environment": environment(), "photos": count, "shard": SHARD, "rounds": rounds, "operations": results}
    print(json.dumps(document, indent=1))
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
