"""One stream, decoded by another configuration than the one that encoded it, and compared at every step.

The decoder is held in step: where its index or mean is another one, the difference is counted and the encoder's value
taken, so that what is counted are the places where two machines compute different numbers and not the noise behind
the first of them. What an ordinary decoder makes of such a stream is tried separately.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ptp_runtime.coder import StreamDecoder
from ptp_runtime.decoder import decode_latents
from ptp_runtime.entropy_path import EntropyPath, Place, StepOutputs, means_witness, write_decoded
from ptp_runtime.errors import DesynchronisedError, StreamError
from ptp_runtime.latents import Latents, StepRecord
from ptp_runtime.stopwatch import Stopwatch
from ptp_runtime.tables import Tables


@dataclass(frozen=True)
class Difference:
    """The first place where a decoder computes another number than the encoder.

    Attributes:
        step: number in the schedule, from 0.
        graph: of the step.
        output: ``index`` or ``mean`` (in sixteenths).
        channel, row, column: in the whole latent.
        expected: the encoder's number.
        got: the decoder's.
    """

    step: int
    graph: str
    output: str
    channel: int
    row: int
    column: int
    expected: int
    got: int


@dataclass(frozen=True)
class Comparison:
    """One stream with one decoder.

    Attributes:
        symbols: positions compared, each with its index and mean.
        differences: positions where one of the two differs.
        indices, means: the same, one by one.
        first: the first of them; None: there is none, and the stream was decoded to its end.
        ordinary: what a decoder that is not held in step does: ``decoded`` (where nothing differs), ``noticed in step
            N``, or ``not noticed``.
        seconds: in the entropy graphs.
    """

    symbols: int
    differences: int
    indices: int
    means: int
    first: Difference | None
    ordinary: str
    seconds: float

    @property
    def noticed(self) -> bool:
        """Whether an ordinary decoder refuses the stream."""
        return self.ordinary.startswith("noticed")


def decode_beside(path: EntropyPath, tables: Tables, data: bytes, sent: Latents) -> Comparison:
    """Decode a stream step by step and compare with what its encoder computed.

    Args:
        path: of the decoding configuration.
        tables: of the bundle.
        data: the stream.
        sent: what its encoder had, with all steps.

    Raises:
        EngineError: a graph failed.
        DesynchronisedError: the stream does not decode even with the encoder's own indices: it is damaged.
    """
    coder = StreamDecoder(data, tables)
    rows, columns = sent.y_int.shape[2:]
    z = coder.z_step(rows // 4, columns // 4)
    start = time.perf_counter()
    tensors = path.hyper(z)
    seconds = time.perf_counter() - start
    decoded = np.zeros_like(sent.y_int)
    symbols = differences = indices = means = 0
    first: Difference | None = None
    for number, place in enumerate(path.places(rows, columns)):
        record = sent.steps[number]
        start = time.perf_counter()
        outputs = path.step(number, place, tensors, decoded)
        seconds += time.perf_counter() - start
        tensors = path.hand_on(number, tensors, outputs)
        coded = np.broadcast_to(place.coded(record.index), record.index.shape)
        other_index, other_mean = coded & (outputs.index != record.index), coded & (outputs.mean != record.mean)
        symbols += int(np.count_nonzero(coded))
        indices += int(np.count_nonzero(other_index))
        means += int(np.count_nonzero(other_mean))
        either = other_index | other_mean
        differences += int(np.count_nonzero(either))
        if first is None and either.any():
            where = tuple(int(n) for n in np.argwhere(either)[0])
            name = "index" if other_index[where] else "mean"
            first = _difference(number, path.graph_name(number + 1), name, place, where, record, outputs)
        witness = means_witness(record.mean, place) if coder.header.seals_means else 0
        values = coder.step(record.index, place.channels.start, place.parity, witness=witness)
        write_decoded(decoded[0], values, record.mean, place)
    coder.finish()
    if not np.array_equal(decoded, sent.y_int) or not np.array_equal(z, sent.z):
        raise StreamError("the coder gave other symbols than it was given", expected="the encoder's", got="others")
    ordinary = "decoded" if first is None else _ordinary(path, tables, data, sent)
    return Comparison(symbols, differences, indices, means, first, ordinary, seconds)


def _difference(
    number: int,
    graph: str,
    output: str,
    place: Place,
    where: tuple[int, ...],
    record: StepRecord,
    outputs: StepOutputs,
) -> Difference:
    origin = (place.channels.start, place.rows.start, place.columns.start)
    channel, row, column = (int(a + b) for a, b in zip(origin, where, strict=True))
    expected, got = (int(getattr(source, output)[where]) for source in (record, outputs))
    return Difference(number, graph, output, channel, row, column, expected, got)


def _ordinary(path: EntropyPath, tables: Tables, data: bytes, sent: Latents) -> str:
    coder = StreamDecoder(data, tables)
    shape = (sent.y_int.shape[1], sent.y_int.shape[2], sent.y_int.shape[3])
    try:
        decode_latents(path, coder, shape, Stopwatch(), keep_steps=False)
    except DesynchronisedError as error:
        # Step 0 of a stream is z; the steps of the schedule follow.
        return "noticed at the end" if error.step is None else f"noticed in step {error.step - 1}"
    return "not noticed"
