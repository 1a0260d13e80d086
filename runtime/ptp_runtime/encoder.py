"""Latents to bytes: quantise, and code each step with the probabilities that the decoder will see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import Parity, StreamEncoder
from ptp_runtime.entropy_path import (
    MEAN_UNIT,
    SYMBOL_LIMIT,
    EntropyPath,
    Place,
    means_witness,
    require_finite,
    write_decoded,
)
from ptp_runtime.latents import Latents, StepRecord
from ptp_runtime.stopwatch import Stopwatch
from ptp_runtime.tables import Tables

Float = npt.NDArray[np.float32]


def encode_latents(
    path: EntropyPath,
    tables: Tables,
    header: StreamHeader,
    y: Float,
    z: Float,
    watch: Stopwatch,
    *,
    keep_steps: bool,
) -> tuple[bytes, Latents]:
    """Code the analysis graph's outputs.

    Args:
        path: the entropy graphs.
        tables: the bundle's frequency tables.
        header: of the stream to write.
        y: float32 [1, M, rows, columns].
        z: float32 [1, Z, rows/4, columns/4].
        watch: gets the stages ``hyper``, ``context`` and ``coder``.
        keep_steps: record each step's symbols, indices and means.

    Returns:
        the stream, and the latents as the decoder will see them.

    Raises:
        EngineError: y or z is not finite, or a graph failed.
    """
    require_finite("the latent y", y)
    require_finite("the hyper-latent z", z)
    coder = StreamEncoder(tables, header)
    with watch("coder"):
        z_symbols = _rounded(z[0])
        coder.z_step(z_symbols)
    with watch("hyper"):
        tensors = path.hyper(z_symbols)
    hyper = dict(tensors) if keep_steps else None
    decoded = np.zeros_like(y)
    steps: list[StepRecord] = []
    for number, place in enumerate(path.places(*y.shape[2:])):
        with watch("context", number):
            outputs = path.step(number, place, tensors, decoded)
            index, mean = outputs.index, outputs.mean
            tensors = path.hand_on(number, tensors, outputs)
            symbols = _quantised(y[0][place.box], index, mean, place, header.skip_index)
            write_decoded(decoded[0], symbols, mean, place)
        with watch("coder", number):
            witness = means_witness(mean, place) if header.seals_means else 0
            coder.step(symbols, index, place.channels.start, place.parity, witness)
        if keep_steps:
            steps.append(StepRecord(symbols, index, mean))
    with watch("coder"):
        data = coder.finish()
    return data, Latents(z_symbols, decoded, tensors if hyper is None else hyper, tuple(steps))


def _rounded(values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Nearest integers, halves to the even one, clamped to what a symbol can be."""
    symbols: npt.NDArray[np.int32] = np.clip(np.rint(values), -SYMBOL_LIMIT, SYMBOL_LIMIT).astype(np.int32)
    return symbols


def _quantised(
    y: Float, index: npt.NDArray[np.uint8], mean: npt.NDArray[np.int16], place: Place, skip_index: int
) -> npt.NDArray[np.int32]:
    """The symbols of one box: the rounded distance to the mean; 0 where nothing is coded or the scale is skipped."""
    symbols = _rounded(y - mean * np.float32(1 / MEAN_UNIT))
    # Zeroed before anything reads it: the decoder will have a 0 there and so must every later step.
    symbols[index < skip_index] = 0
    if place.parity is not Parity.ALL:
        symbols *= place.coded(symbols)
    return symbols
