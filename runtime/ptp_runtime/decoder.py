"""Bytes to latents: the mirror of :mod:`ptp_runtime.encoder`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ptp_runtime.coder import StreamDecoder
from ptp_runtime.entropy_path import EntropyPath, means_witness, write_decoded
from ptp_runtime.errors import DesynchronisedError
from ptp_runtime.latents import Latents, StepRecord
from ptp_runtime.stopwatch import Stopwatch


def decode_latents(
    path: EntropyPath,
    coder: StreamDecoder,
    shape: tuple[int, int, int],
    watch: Stopwatch,
    *,
    keep_steps: bool,
    hint: Callable[[], str] | None = None,
) -> Latents:
    """Decode all symbols of a stream and verify its end.

    Args:
        path: the entropy graphs.
        coder: opened on the stream; its header was checked.
        shape: of the latent: channels, rows, columns (multiples of 4).
        watch: gets the stages ``hyper``, ``context`` and ``coder``.
        keep_steps: record each step's symbols, indices and means.
        hint: what to tell the reader of a DesynchronisedError; None: the coder's own words.

    Raises:
        DesynchronisedError: the symbols, indices or means are not those that the encoder saw; names the step and its
            graph.
        EngineError: a graph failed.
    """
    _, rows, columns = shape
    sealed = coder.header.seals_means
    with watch("coder"), graph_named(path, hint):
        z_symbols = coder.z_step(rows // 4, columns // 4)
    with watch("hyper"):
        tensors = path.hyper(z_symbols)
    hyper = dict(tensors) if keep_steps else None
    decoded = np.zeros((1, *shape), np.float32)
    steps: list[StepRecord] = []
    for number, place in enumerate(path.places(rows, columns)):
        with watch("context", number):
            outputs = path.step(number, place, tensors, decoded)
            index, mean = outputs.index, outputs.mean
            tensors = path.hand_on(number, tensors, outputs)
        with watch("coder", number), graph_named(path, hint):
            witness = means_witness(mean, place) if sealed else 0
            symbols = coder.step(index, place.channels.start, place.parity, witness=witness)
        with watch("context", number):
            write_decoded(decoded[0], symbols, mean, place)
        if keep_steps:
            steps.append(StepRecord(symbols, index, mean))
    with watch("coder"), graph_named(path, hint):
        coder.finish()
    return Latents(z_symbols, decoded, tensors if hyper is None else hyper, tuple(steps))


@contextmanager
def graph_named(path: EntropyPath, hint: Callable[[], str] | None) -> Iterator[None]:
    """The coder knows the number of a step; which graph stands behind it is known to the entropy path.

    Args:
        path: the entropy graphs.
        hint: see :func:`decode_latents`.
    """
    try:
        yield
    except DesynchronisedError as error:
        graph = "" if error.step is None else path.graph_name(error.step)
        raise DesynchronisedError(
            error.message + (f" (graph {graph!r})" if graph else ""),
            expected=error.expected,
            got=error.got,
            hint=error.hint if hint is None else hint(),
            step=error.step,
            graph=graph,
        ) from error
