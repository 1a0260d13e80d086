"""Ten photographs: bytes, bpp, encode and decode milliseconds, against PyTorch eager in the same process.

    python benchmarks/photos.py BUNDLE [--checkpoint demo] [--json FILE]

Both sides are the whole work, pixels to bytes and bytes to mask, in the same session code with the same coder and
thread count; only what runs the networks differs. Rounds alternate, the figure is the median. Every stream is decoded
and its latents compared with the encoder's, symbol for symbol, index for index.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import click
import numpy as np
import torch
from environment import environment
from torch_backend import EagerBackend

from ptp_export.photos import photos
from ptp_runtime.images import load_image
from ptp_runtime.session import Session


def milliseconds(function, argument) -> tuple[float, object]:
    start = time.perf_counter()
    result = function(argument)
    return 1e3 * (time.perf_counter() - start), result


def identical(session: Session, pixels: np.ndarray) -> tuple[int, int]:
    """Symbols coded, and how many symbols, indices or means differ between encoder and decoder."""
    encoded = session.encode_detailed(pixels)
    decoded = session.decode_detailed(encoded.data)
    compared, different = encoded.latents.z.size, int((encoded.latents.z != decoded.latents.z).sum())
    for a, b in zip(encoded.latents.steps, decoded.latents.steps, strict=True):
        compared += a.symbols.size
        different += int(((a.symbols != b.symbols) | (a.index != b.index) | (a.mean != b.mean)).sum())
    return compared, different


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--checkpoint", default="demo", show_default=True)
@click.option("--rounds", default=9, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(bundle: Path, checkpoint: str, rounds: int, threads: int, output: Path | None) -> None:
    torch.set_num_threads(threads)
    ours = Session.open(bundle, backend="cpu", threads=threads)
    eager = Session.open(bundle, backend=EagerBackend(checkpoint, ours.manifest.task.name), threads=threads)
    rows = []
    for photo in [*photos("parity"), *photos("calibration")]:
        pixels = load_image(photo.path)
        compared, different = identical(ours, pixels)
        times: dict[str, list[float]] = {"encode": [], "decode": [], "eager encode": [], "eager decode": []}
        for round_number in range(rounds + 1):
            for prefix, session in (("", ours), ("eager ", eager)):
                encode, data = milliseconds(session.encode, pixels)
                decode, _ = milliseconds(session.decode, data)
                if round_number:  # the first round warms up
                    times[f"{prefix}encode"].append(encode)
                    times[f"{prefix}decode"].append(decode)
                if not prefix:
                    size = len(data)
        median = {name: statistics.median(values) for name, values in times.items()}
        rows.append(
            {
                "photo": photo.path.name,
                "width": pixels.shape[1],
                "height": pixels.shape[0],
                "bytes": size,
                "bpp": 8 * size / pixels[..., 0].size,
                "milliseconds": median,
                "encode_ratio": median["eager encode"] / median["encode"],
                "decode_ratio": median["eager decode"] / median["decode"],
                "symbols_compared": compared,
                "symbols_different": different,
            }
        )
        print(json.dumps(rows[-1]))
    summary = {
        "encode_ratio": statistics.median(row["encode_ratio"] for row in rows),
        "decode_ratio": statistics.median(row["decode_ratio"] for row in rows),
    }
    print(summary)
    if output:
        setting = {"rounds": rounds, "threads": threads, "bundle": ours.manifest.model.checkpoint_sha256}
        document = {"environment": environment(), "setting": setting, "summary": summary, "photos": rows}
        output.write_text(json.dumps(document, indent=1) + "\n")
    if any(row["symbols_different"] for row in rows):
        raise SystemExit("a decoded symbol differs from the encoder's")


if __name__ == "__main__":
    main()
