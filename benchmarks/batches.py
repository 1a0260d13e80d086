"""Photographs per second of the two profiles, of one against two workers, and what a fresh process takes to begin.

    python benchmarks/batches.py BUNDLE [--json FILE]

The same photographs in every setting, the settings in turn, medians of the rounds. Fresh processes, with the cache of
kernels filled: until the package is imported, until the bundle is open, until the first stream is decoded.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from environment import environment
from PIL import Image

from ptp_export.photos import photos
from ptp_runtime import Session

SIZE = (768, 512)
COUNT = 8
_FRESH = """
import json, sys, time
start = time.perf_counter()
import ptp_runtime
imported = time.perf_counter()
session = ptp_runtime.Session.open(sys.argv[1], "cpu")
opened = time.perf_counter()
session.decode(open(sys.argv[2], "rb").read())
print(json.dumps([1e3 * (t - start) for t in (imported, opened, time.perf_counter())]))
"""


def load() -> list[Any]:
    """Shipped photographs at one size."""
    found = []
    for photo in (*photos("parity"), *photos("calibration")):
        with Image.open(photo.path) as image:
            found.append(np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)))
    return (found * COUNT)[:COUNT]


def fresh(bundle: Path, data: bytes, rounds: int) -> dict[str, float]:
    """Milliseconds since the start of a process, medians."""
    with tempfile.NamedTemporaryFile(suffix=".ptp") as stream:
        stream.write(data)
        stream.flush()
        laps = []
        for number in range(rounds + 1):
            command = [sys.executable, "-c", _FRESH, str(bundle), stream.name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            if number:  # the first may fill the cache
                laps.append(json.loads(done.stdout))
    names = ("package imported", "bundle open", "first stream decoded")
    return {name: statistics.median(lap[k] for lap in laps) for k, name in enumerate(names)}


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=7, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(bundle: Path, rounds: int, output: Path | None) -> None:
    images = load()
    sessions = {name: Session.open(bundle, "cpu", profile=name) for name in ("latency", "throughput")}
    settings = {
        "latency, 1 worker": (sessions["latency"], 1),
        "throughput, 1 worker": (sessions["throughput"], 1),
        "throughput, 2 workers": (sessions["throughput"], 2),
    }
    times: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in settings}
    for number in range(rounds + 1):
        for name, (session, workers) in settings.items():
            start = time.perf_counter()
            streams = session.encode_batch(images, workers=workers)
            middle = time.perf_counter()
            session.decode_batch(streams, workers=workers)
            end = time.perf_counter()
            if number:  # the first warms up
                times[name]["encode"].append(middle - start)
                times[name]["decode"].append(end - middle)
    rows = {
        name: {
            "threads": session.speed.threads,
            "workers": workers,
            "encode_per_s": COUNT / statistics.median(times[name]["encode"]),
            "decode_per_s": COUNT / statistics.median(times[name]["decode"]),
        }
        for name, (session, workers) in settings.items()
    }
    document = {
        "environment": environment(),
        "size": list(SIZE),
        "photos": COUNT,
        "rounds": rounds,
        "settings": rows,
        "fresh_process_ms": fresh(bundle, sessions["latency"].encode(images[0]), 5),
    }
    print(document["fresh_process_ms"])
    for name, row in rows.items():
        print(name, {key: round(value, 3) for key, value in row.items()})
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
