"""The demo's rate and fidelity on held-out photographs, beside JPEG at equal bytes through the same teacher.

    python benchmarks/compression.py BUNDLE PHOTO... [--checkpoint demo] [--rate N]... [--json FILE]

Without PHOTO: the shipped parity photographs, which a test keeps out of the training photographs. Others must be listed
as held out in the checkpoint's provenance, unless ``--unseen`` says that they were kept apart by other means.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from pathlib import Path

import click
import torch
from environment import environment

from ptp_export.evaluation.against_jpeg import Comparison, Fidelity, compare
from ptp_export.photos import photos as shipped
from ptp_model import checkpoint as checkpoints
from ptp_runtime.session import Session

METRICS = tuple(Fidelity.__dataclass_fields__)


def summary(rows: list[Comparison]) -> dict[str, object]:
    """Means over photographs, and on how many ours is ahead."""
    means = {
        side: {metric: statistics.mean(getattr(getattr(row, side), metric) for row in rows) for metric in METRICS}
        for side in ("ours", "jpeg")
    }
    ahead = sum(row.ours.pixel_agreement > row.jpeg.pixel_agreement for row in rows)
    return {"photos": len(rows), **means, "ahead_in_pixel_agreement": ahead}


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("photo", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--checkpoint", default="demo", show_default=True)
@click.option("--rate", "rates", type=int, multiple=True, help="Repeatable.  [default: the bundle's]")
@click.option("--unseen", is_flag=True, help="The photographs were kept apart from all training by other means.")
@click.option("--threads", default=2, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(
    bundle: Path,
    photo: tuple[Path, ...],
    checkpoint: str,
    rates: tuple[int, ...],
    unseen: bool,
    threads: int,
    output: Path | None,
) -> None:
    torch.set_num_threads(threads)
    loaded = checkpoints.load(checkpoint)
    held_out = set(loaded.provenance.get("held_out", ()))
    trained = [path.name for path in photo if path.stem not in held_out]
    if trained and not unseen:
        raise SystemExit(f"not held out of training, by the checkpoint's provenance: {', '.join(trained[:5])}")
    paths = list(photo) or [entry.path for entry in shipped("parity")]
    document: dict[str, object] = {"environment": environment(), "checkpoint": loaded.digest}
    found = []
    with Session.open(bundle, backend="cpu", threads=threads) as session:
        document["default_rate"] = session.default_rate
        for rate in rates or (session.default_rate,):
            rows = compare(session, loaded.tasks["seg"].teacher, paths, rate)
            found.append({"rate": rate, "summary": summary(rows), "photos": [asdict(row) for row in rows]})
            print(f"rate {rate}", json.dumps(found[-1]["summary"], indent=1), flush=True)
    if output:
        output.write_text(json.dumps(document | {"rates": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
