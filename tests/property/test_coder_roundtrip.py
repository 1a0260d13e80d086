"""Whatever is encoded is decoded, symbol for symbol: shapes, indices, escapes, schedules and lanes drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import Parity, StreamDecoder, StreamEncoder
from ptp_runtime.errors import DesynchronisedError
from ptp_runtime.tables import Table, Tables, gaussian_tables, table_from_pmf

pytestmark = pytest.mark.runtime

GAUSSIAN = gaussian_tables()
HYPER = [table_from_pmf(np.array([0.02, 0.3, 0.5, 0.1]), offset) for offset in (-2, 0, 30000)]
Step = tuple[Any, Any, int, Parity]


@st.composite
def schedules(draw: st.DrawFn) -> list[Step]:
    """Steps as a codec makes them: groups of channels, in halves or whole, with levels and spreads of their own."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns, first = draw(st.integers(1, 24)), draw(st.integers(1, 24)), 0
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 4))):
        shape = (draw(st.integers(0, 40)), rows, columns)
        level, width = draw(st.integers(0, 63)), draw(st.sampled_from([0.0, 3.0, 30.0]))
        indexes = np.clip(random.normal(level, width, shape), 0, 63).astype(np.uint8)
        excess = draw(st.sampled_from([0.0, 1.0, 1.0, 1.0, 5.0, 1000.0]))
        scales = 0.11 * 1.1309 ** indexes.astype(np.float64) * excess
        symbols = np.clip(np.rint(random.normal(0, 1, shape) * scales), -32768, 32767).astype(np.int32)
        symbols[: draw(st.integers(0, shape[0]))] = 0
        halves = draw(st.sampled_from([(Parity.ALL,), (Parity.EVEN, Parity.ODD), (Parity.ODD,)]))
        steps += [(symbols, indexes, first, parity) for parity in halves]
        first += shape[0]
    return steps


def inside(step: Step) -> Any:
    parity = np.indices(step[1].shape)[1:].sum(axis=0) % 2
    return {Parity.ALL: parity >= 0, Parity.EVEN: parity == 0, Parity.ODD: parity == 1}[step[3]]


def encoded(tables: Tables, header: StreamHeader, z: Any, steps: list[Step]) -> bytes:
    encoder = StreamEncoder(tables, header)
    encoder.z_step(z)
    for symbols, indexes, first, parity in steps:
        encoder.step(np.where(indexes < header.skip_index, 0, symbols), indexes, first, parity)
    return encoder.finish()


@settings(max_examples=200, deadline=None)
@given(
    steps=schedules(),
    z=st.integers(0, 2**32 - 1),
    z_spread=st.sampled_from([0.0, 1.0, 20000.0]),
    lanes=st.sampled_from([0, 8, 16, 32]),
    skip=st.sampled_from([0, 2, 2, 40, 255]),
    checks=st.booleans(),
    dtype=st.sampled_from([np.int16, np.int32]),
)
def test_round_trip(
    steps: list[Step], z: int, z_spread: float, lanes: int, skip: int, checks: bool, dtype: Any
) -> None:
    tables = Tables.build(GAUSSIAN, HYPER)
    random = np.random.default_rng(z)
    hyper = np.clip(random.normal(0, z_spread, (3, 1 + z % 4, 1 + z % 5)), -32768, 32767).astype(dtype)
    header = StreamHeader(
        identity=b"1234", task=2, width=9, height=9, steps=len(steps), lanes=lanes, skip_index=skip, step_checks=checks
    )
    steps = [(symbols.astype(dtype), *rest) for symbols, *rest in steps]
    data = encoded(tables, header, hyper, steps)

    decoder = StreamDecoder(data, Tables.from_bytes(tables.to_bytes()), identity=b"1234", task=2, steps=len(steps))
    assert np.array_equal(decoder.z_step(*hyper.shape[1:]), hyper)
    for step in steps:
        symbols, indexes, first, parity = step
        out = np.full(symbols.shape, 7, dtype)
        decoder.step(indexes, first, parity, out)
        assert np.array_equal(out, np.where(inside(step) & (indexes >= skip), symbols, 0))
    decoder.finish()


@settings(max_examples=150, deadline=None)
@given(schedules(), st.integers(0, 2**32 - 1), st.sampled_from([8, 16, 32]))
def test_another_scale_index_never_passes(steps: list[Step], seed: int, lanes: int) -> None:
    """One index differs in one step, as between two devices: some call raises, and it is always the typed error."""
    usable = [number for number, step in enumerate(steps) if (inside(step) & (step[1] > 2)).any()]
    if not usable:
        return
    where = usable[seed % len(usable)]
    symbols, indexes, first, parity = steps[where]
    places = np.argwhere(inside(steps[where]) & (indexes > 2))
    at = tuple(places[np.random.default_rng(seed).integers(len(places))])
    live, other = symbols.copy(), indexes.copy()
    live[at] = 1  # else the zero map may name the channel, whose indices then do not matter
    other[at] = int(other[at]) + (-1 if seed % 2 or other[at] == 63 else 1)
    steps = [*steps[:where], (live, indexes, first, parity), *steps[where + 1 :]]

    tables = Tables.build(GAUSSIAN, HYPER)
    header = StreamHeader(identity=b"1234", task=2, width=9, height=9, steps=len(steps), lanes=lanes)
    decoder = StreamDecoder(encoded(tables, header, np.zeros((3, 1, 1), np.int16), steps), tables)
    decoder.z_step(1, 1)

    def decode() -> None:
        for number, step in enumerate(steps):
            decoder.step(other if number == where else step[1], step[2], step[3])
        decoder.finish()

    with pytest.raises(DesynchronisedError):
        decode()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=255),
    st.integers(0, 15),
    st.integers(-400, 400),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 50.0, 10000.0]),
)
def test_any_table_codes_any_integer(weights: list[int], order: int, offset: int, seed: int, spread: float) -> None:
    table = table_from_pmf(np.array(weights) / (sum(weights) * 1.1), offset, order)
    tables = Tables.build([Table(0, (4095, 1))], [table])
    z = np.clip(np.random.default_rng(seed).normal(offset, spread, (1, 9, 40)), -32768, 32767).astype(np.int16)
    header = StreamHeader(identity=b"1234", task=0, width=9, height=9, steps=0)

    decoder = StreamDecoder(encoded(tables, header, z, []), tables)
    assert np.array_equal(decoder.z_step(9, 40), z)
    decoder.finish()


def test_a_single_symbol_of_every_value() -> None:
    tables = Tables.build([Table(-3, (500, 500, 500, 500, 500, 500, 500, 596), 2)], [])
    header = StreamHeader(identity=b"1234", task=0, width=1, height=1, steps=1, skip_index=0)
    index = np.zeros((1, 1, 1), np.uint8)
    for value in (*range(-40, 41), -32768, -32767, 32766, 32767, 255, 256, -4096):
        data = encoded(
            tables, header, np.zeros((0, 1, 1), np.int16), [(np.full((1, 1, 1), value, np.int32), index, 0, Parity.ALL)]
        )
        decoder = StreamDecoder(data, tables)
        decoder.z_step(1, 1)
        assert decoder.step(index, 0).item() == value
        decoder.finish()
