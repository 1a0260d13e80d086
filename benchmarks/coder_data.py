"""What the coders are compared on: the synthetic set A, and latents of the demo codec.

A *step* is a part of a latent as a codec codes it: symbols, scale indices, its first channel, and the parity of its
positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.coder import Parity
from ptp_runtime.entropy_path import place_of
from ptp_runtime.images import load_image
from ptp_runtime.session import Session
from ptp_runtime.tables import SCALES, Tables, gaussian_tables

TABLES = Tables.build(gaussian_tables(), [])
SKIP_INDEX = 2
"""Symbols whose scale index is below are 0 and are not coded by ours."""
GROUP = 32
"""Channels of a step of set A: 320 channels in halves make 20 steps."""
LEVEL = -2.9665
"""Mean logarithm of the standard deviations of set A, chosen so that it holds 0.3 bits a pixel of a 512 × 768 image."""


@dataclass(frozen=True)
class Step:
    """Attributes:
    symbols: int16 [g, rows, columns]; 0 where the index is below the skip index.
    indexes: uint8, same shape.
    first_channel: of the latent.
    parity: which positions are coded.
    """

    symbols: npt.NDArray[np.int16]
    indexes: npt.NDArray[np.uint8]
    first_channel: int
    parity: Parity

    def covered(self) -> npt.NDArray[np.bool_]:
        """bool, same shape: the positions of the step."""
        odd = np.indices(self.symbols.shape[1:]).sum(axis=0) & 1
        plane = {Parity.ALL: odd >= 0, Parity.EVEN: odd == 0, Parity.ODD: odd == 1}[self.parity]
        return np.broadcast_to(plane, self.symbols.shape)

    def where(self) -> npt.NDArray[np.int64]:
        """int64: those positions in C order."""
        return np.flatnonzero(self.covered())


@dataclass(frozen=True)
class Sample:
    """Attributes:
    name: for the table.
    steps: as a model codes them.
    whole: all of it in one step, for the best case of each coder.
    """

    name: str
    steps: tuple[Step, ...]
    whole: Step


def set_a(scale: int = 1) -> Sample:
    """320 × 48 × 32 symbols with the statistics of a trained codec at 0.3 bits a pixel, in 20 steps.

    Each channel has a level of its own; scales vary around it; nearly all symbols are 0. ``scale`` multiplies both
    sides of the image.
    """
    random = np.random.default_rng(0)
    shape = (320, 48 * scale, 32 * scale)
    logs = random.normal(LEVEL, 1.5, (shape[0], 1, 1)) + random.normal(0, 0.6, shape)
    places = (logs - math.log(SCALES[0])) / math.log(SCALES[1] / SCALES[0])
    indexes = np.clip(np.floor(places + 0.5), 0, 63).astype(np.uint8)
    symbols = np.rint(random.normal(0, 1, shape) * np.array(SCALES)[indexes]).astype(np.int16)
    symbols[indexes < SKIP_INDEX] = 0
    steps = tuple(
        Step(symbols[first : first + GROUP], indexes[first : first + GROUP], first, parity)
        for first in range(0, shape[0], GROUP)
        for parity in (Parity.EVEN, Parity.ODD)
    )
    return Sample("set A" if scale == 1 else f"set A, sides × {scale}", steps, Step(symbols, indexes, 0, Parity.ALL))


def coded_only(sample: Sample) -> Sample:
    """The symbols that ours codes, in one row: nobody has to pass over any others."""
    one = as_one_step(sample.steps)
    coded = one.indexes >= SKIP_INDEX
    row = Step(one.symbols[coded].reshape(1, 1, -1), one.indexes[coded].reshape(1, 1, -1), 0, Parity.ALL)
    return Sample(f"{sample.name}, coded symbols only", (row,), row)


def as_one_step(steps: tuple[Step, ...]) -> Step:
    """All symbols of some steps in a row, as one step."""
    symbols = np.concatenate([step.symbols[step.covered()] for step in steps])
    indexes = np.concatenate([step.indexes[step.covered()] for step in steps])
    return Step(symbols.reshape(1, 1, -1), indexes.reshape(1, 1, -1), 0, Parity.ALL)


def demo_latents(bundle: Path, photo: Path) -> Sample:
    """The y of a photograph, as a session of this bundle codes it."""
    with Session.open(bundle, backend="cpu") as session:
        latents = session.encode_detailed(load_image(photo)).latents
        rows, columns = latents.y_int.shape[2:]
        steps = []
        for entry, record in zip(session.manifest.entropy.schedule, latents.steps, strict=True):
            place = place_of(entry, rows, columns)
            skipped = record.index < session.manifest.entropy.skip_index
            symbols = np.where(skipped, 0, record.symbols).astype(np.int16)
            steps.append(Step(symbols, np.ascontiguousarray(record.index), place.channels.start, place.parity))
    return Sample(f"demo, {photo.name}", tuple(steps), as_one_step(tuple(steps)))


def checkpoint_of(bundle: Path) -> str:
    """Which weights a bundle holds."""
    with Session.open(bundle, backend="cpu") as session:
        return str(session.manifest.model.checkpoint_sha256)


def ideal_bytes(steps: tuple[Step, ...]) -> float:
    """-log2 of the Gaussian probabilities of all symbols that ours codes, over 8; no table and no rounding in it."""
    one = as_one_step(steps)
    coded = one.indexes >= SKIP_INDEX
    pairs = np.stack([one.indexes[coded].astype(np.int64), np.abs(one.symbols[coded].astype(np.int64))])
    distinct, counts = np.unique(pairs, axis=1, return_counts=True)
    bits = 0.0
    for index, size, count in zip(*distinct.tolist(), counts.tolist(), strict=True):
        bits -= count * math.log2(probability(size, SCALES[index]))
    return bits / 8


def probability(integer: int, scale: float) -> float:
    """That a zero-mean Gaussian rounds to this integer."""
    size, width = abs(integer), scale * math.sqrt(2)
    if size == 0:
        return math.erf(0.5 / width)
    return 0.5 * (math.erfc((size - 0.5) / width) - math.erfc((size + 0.5) / width))


def describe(steps: tuple[Step, ...]) -> dict[str, Any]:
    """How large the set is and how much of it is coded."""
    one = as_one_step(steps)
    return {
        "symbols": one.symbols.size,
        "coded": int((one.indexes >= SKIP_INDEX).sum()),
        "zeros": float((one.symbols == 0).mean()),
        "steps": len(steps),
        "ideal_bytes": ideal_bytes(steps),
    }
