"""A whole encode and decode at 512×768, beside PyTorch eager and beside CompressAI's own codecs, in one process.

    python benchmarks/end_to_end.py BUNDLE [--int8 BUNDLE] [--checkpoint demo] [--json FILE]

The same photograph for all, in turn, round by round; medians. Ours and eager share session code, coder and threads;
only what runs the networks differs. CompressAI's codecs (quality 3, random weights, which do for time) code pixels for
people and have no task behind them: the teacher that would have to look at their picture is timed apart.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from environment import environment
from floor import Product, floor
from PIL import Image
from torch_backend import EagerBackend

from ptp_export.photos import demo_photo
from ptp_model import checkpoint as checkpoints
from ptp_runtime.session import Session

HEIGHT, WIDTH = 512, 768
QUALITY = 3
RIVALS = ("mbt2018-mean", "cheng2020-anchor")


class Ours:
    """A bundle, or a checkpoint in PyTorch, behind the session that both share."""

    def __init__(self, session: Session, pixels: np.ndarray) -> None:
        self._session, self._pixels, self._data = session, pixels, b""

    def encode(self) -> None:
        self._data = self._session.encode(self._pixels)

    def decode(self) -> None:
        self._session.decode(self._data)


class CompressAi:
    """One of CompressAI's codecs, as its own example drives it."""

    def __init__(self, name: str, pixels: np.ndarray) -> None:
        from compressai.zoo import models  # not before ptp_model has seen to torchvision's operators

        torch.manual_seed(0)
        self._model = models[name](quality=QUALITY, pretrained=False).eval()
        self._model.update(force=True)
        self._image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        self._coded: dict[str, Any] = {}

    @torch.inference_mode()
    def encode(self) -> None:
        self._coded = self._model.compress(self._image)

    @torch.inference_mode()
    def decode(self) -> None:
        self._model.decompress(self._coded["strings"], self._coded["shape"])


class WholeTeacher:
    """The task's network on a picture: what follows the decoding of pixels."""

    def __init__(self, checkpoint: str, task: str, pixels: np.ndarray) -> None:
        self._teacher = checkpoints.load(checkpoint).tasks[task].teacher.eval()
        self._image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255

    @torch.inference_mode()
    def run(self) -> None:
        self._teacher.tail(self._teacher.stem(self._image))


def milliseconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--int8", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A second bundle of ours.")
@click.option("--checkpoint", default="demo", show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--slow-rounds", default=3, show_default=True, help="Rounds in which the autoregressive codec runs, too.")
@click.option("--threads", default=2, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(
    bundle: Path, int8: Path | None, checkpoint: str, rounds: int, slow_rounds: int, threads: int, output: Path | None
) -> None:
    torch.set_num_threads(threads)
    with Image.open(demo_photo().path) as photo:
        pixels = np.asarray(photo.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    bundles = {"ours": bundle} | ({} if int8 is None else {"ours, INT8": int8})
    sessions = {name: Session.open(path, backend="cpu", threads=threads) for name, path in bundles.items()}
    task = sessions["ours"].manifest.task.name
    sessions["PyTorch eager"] = Session.open(bundle, backend=EagerBackend(checkpoint, task), threads=threads)
    codecs: dict[str, Any] = {name: Ours(session, pixels) for name, session in sessions.items()}
    codecs |= {name: CompressAi(name, pixels) for name in RIVALS}
    teacher = WholeTeacher(checkpoint, task, pixels)
    product = Product(threads)
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, codec in codecs.items():
            if name == "cheng2020-anchor" and number > slow_rounds:
                continue
            for side in ("encode", "decode"):
                taken = milliseconds(getattr(codec, side))
                if number:  # the first round warms up
                    times.setdefault(f"{name}/{side}", []).append(taken)
        for name, work in (("teacher", teacher.run), ("product", product.run)):
            taken = milliseconds(work)
            if number:
                times.setdefault(name, []).append(taken)
    median = {name: statistics.median(values) for name, values in times.items()}
    rows = {
        name: {
            "encode": median[f"{name}/encode"],
            "decode": median[f"{name}/decode"],
            "together": statistics.median(
                a + b for a, b in zip(times[f"{name}/encode"], times[f"{name}/decode"], strict=True)
            ),
            "rounds": len(times[f"{name}/encode"]),
        }
        for name in codecs
    }
    least = floor(sessions["ours"], pixels, median["product"])
    head = sessions["ours"].decode_detailed(sessions["ours"].encode(pixels), keep_steps=False).milliseconds
    document = {
        "environment": environment(),
        "setting": {
            "size": [WIDTH, HEIGHT],
            "rounds": rounds,
            "threads": threads,
            "task": task,
            "precision": sessions["ours"].manifest.graph_of_role("synthesis").precision,
            "quality": QUALITY,
            "checkpoint_sha256": sessions["ours"].manifest.model.checkpoint_sha256,
        },
        "milliseconds": rows,
        "teacher": median["teacher"],
        "floor": least,
        # A rival's best case: on a machine that does nothing else, torch's threads had better not sleep.
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "head": head["head"] + head["postprocess"],
        "ratios": {
            name: {side: rows[name][side] / rows["ours"][side] for side in ("encode", "decode", "together")}
            for name in rows
        },
    }
    for name, row in rows.items():
        print(f"{name:20}", {key: round(value, 1) for key, value in row.items()}, document["ratios"][name])
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
