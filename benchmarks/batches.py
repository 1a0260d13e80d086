"""Photographs per second of the two profiles, and of one against two workers.

    python benchmarks/batches.py BUNDLE [--json FILE]

The same photographs in every setting, the settings in turn, medians of the rounds.
"""

from __future__ import annotations

import json
import statistics
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


def load() -> list[Any]:
    """Shipped photographs at one size."""
    found = []
    for photo in (*photos("parity"), *photos("calibration")):
        with Image.open(photo.path) as image:
            found.append(np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)))
    return (found * COUNT)[:COUNT]


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
    document = {"environment": environment(), "size": list(SIZE), "photos": COUNT, "rounds": rounds, "settings": rows}
    for name, row in rows.items():
        print(name, {key: round(value, 3) for key, value in row.items()})
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
