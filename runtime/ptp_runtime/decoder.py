"""Bytes to latents: the mirror of :mod:`ptp_runtime.encoder`."""

from __future__ import annotations

import numpy as np

from ptp_runtime.coder import StreamDecoder
from ptp_runtime.entropy_path import EntropyPath, write_decoded
from ptp_runtime.latents import Latents, StepRecord
from ptp_runtime.stopwatch import Stopwatch


def decode_latents(
    path: EntropyPath,
    coder: StreamDecoder,
    shape: tuple[int, int, int],
    watch: Stopwatch,
    *,
    keep_steps: bool,
) -> Latents:
    """Decode all symbols of a stream and verify its end.

    Args:
        path: the entropy graphs.
        coder: opened on the stream; its header was checked.
        shape: of the latent: channels, rows, columns (multiples of 4).
        watch: gets the stages ``hyper``, ``context`` and ``coder``.
        keep_steps: record each step's symbols, indices and means.

    Raises:
        DesynchronisedError: the symbols or scale indices are not those that the encoder saw.
        EngineError: a graph failed.
    """
    _, rows, columns = shape
    with watch("coder"):
        z_symbols = coder.z_step(rows // 4, columns // 4)
    with watch("hyper"):
        hyper = path.hyper(z_symbols)
    decoded = np.zeros((1, *shape), np.float32)
    steps: list[StepRecord] = []
    for number, place in enumerate(path.places(rows, columns)):
        with watch("context"):
            index, mean = path.step(number, place, hyper, decoded)
        with watch("coder"):
            symbols = coder.step(index, place.channels.start, place.parity)
        with watch("context"):
            write_decoded(decoded[0], symbols, mean, place)
        if keep_steps:
            steps.append(StepRecord(symbols, index, mean))
    with watch("coder"):
        coder.finish()
    return Latents(z_symbols, decoded, hyper, tuple(steps))
