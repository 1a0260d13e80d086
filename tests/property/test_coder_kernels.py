"""The vector kernels against the scalar ones: the same bytes, the same symbols, the same errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import Parity, StreamDecoder, StreamEncoder, decode_kernels, decode_vector
from ptp_runtime.coder.kernel_choice import Kernels
from ptp_runtime.coder.lookups import lookups_of
from ptp_runtime.coder.signatures import ready
from ptp_runtime.errors import PtpError
from ptp_runtime.tables import Table, Tables, gaussian_tables, table_from_pmf

pytestmark = pytest.mark.runtime

HYPER = [table_from_pmf(np.array([0.02, 0.3, 0.5, 0.1]), offset) for offset in (-2, 0, 30000)]
GAUSSIAN = Tables.build(gaussian_tables(), HYPER)
SHIFTED = Tables.build([Table(5 * k - 150, (2000 - k, 1000, 500, 595 + k, 1), k % 16) for k in range(64)], HYPER)
"""Integers beyond one signed byte: the codes of y are positions in the alphabet here."""
EDGE = Tables.build(
    [Table(-127, (16,) * 255 + (16,), 3), Table(-1, (1, 4093, 1, 1)), Table(-127, (4095, 1)), Table(127, (1, 4095))],
    HYPER,
)
"""Regular integers as far as codes go, and tables of one integer at either end."""

Step = tuple[Any, Any, int, Parity]


class Image(NamedTuple):
    """What is coded; its name is short, for messages."""

    tables: Tables
    header: StreamHeader
    z: Any
    steps: list[Step]

    def __repr__(self) -> str:
        name = {id(GAUSSIAN): "Gaussian", id(SHIFTED): "shifted", id(EDGE): "edge"}[id(self.tables)]
        return f"Image({name}, {self.header}, {[(s.shape, s.dtype.name, parity) for s, _, _, parity in self.steps]})"


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Tables, header, z, and steps of all shapes: whole vectors, remainders, single columns, nothing at all."""
    tables = draw(st.sampled_from([GAUSSIAN, GAUSSIAN, SHIFTED, EDGE]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    skip = draw(st.sampled_from([0, 2, 2, tables.scale_count // 2, 255]))
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 4))):
        shape = (
            draw(st.integers(0, 12)),
            draw(st.integers(0, 20)),
            draw(st.sampled_from([1, 2, 7, 8, 15, 16, 17, 32, 40])),
        )
        level, width = draw(st.integers(0, tables.scale_count - 1)), draw(st.sampled_from([0.0, 2.0, 20.0]))
        indexes = np.clip(random.normal(level, width, shape), 0, tables.scale_count - 1).astype(np.uint8)
        indexes[random.random(shape[0]) < 0.3] = 0
        spread = draw(st.sampled_from([0.0, 0.3, 3.0, 60.0, 9000.0]))
        symbols = np.clip(np.rint(random.normal(0, spread, shape)), -32768, 32767).astype(np.int32)
        symbols[random.random(shape[0]) < 0.3] = 0
        symbols[indexes < skip] = 0
        dtype = draw(st.sampled_from([np.int16, np.int32]))
        steps.append((symbols.astype(dtype), indexes, draw(st.integers(0, 40)), draw(st.sampled_from(list(Parity)))))
    header = StreamHeader(
        identity=random.bytes(4),
        task=1,
        width=16,
        height=16,
        steps=len(steps),
        skip_index=skip,
        lanes=draw(st.sampled_from([0, 8, 16, 32, 32])),
        step_checks=draw(st.booleans()),
    )
    z = np.clip(random.normal(0, draw(st.sampled_from([0.5, 30.0])), (3, 3, 5)), -32768, 32767).astype(np.int32)
    return Image(tables, header, z, steps)


def encoded(image: Image, kernels: Kernels) -> bytes:
    tables, header, z, steps = image
    encoder = StreamEncoder(tables, header, kernels)
    encoder.z_step(z)
    for step in steps:
        encoder.step(*step)
    return encoder.finish()


def decoded(data: bytes, image: Image, kernels: Kernels) -> list[Any]:
    tables, _, z, steps = image
    decoder = StreamDecoder(data, tables, kernels=kernels)
    got = [decoder.z_step(*z.shape[1:])]
    got += [decoder.step(indexes, first, parity, np.full(s.shape, 9, s.dtype)) for s, indexes, first, parity in steps]
    decoder.finish()
    return got


@settings(max_examples=300, deadline=None)
@given(images())
def test_both_kinds_of_kernels_write_the_same_bytes_and_read_the_same_symbols(
    image: Image,
) -> None:
    data = encoded(image, Kernels.SCALAR)

    assert encoded(image, Kernels.VECTOR) == data
    for kernels in (Kernels.SCALAR, Kernels.VECTOR):
        z, *planes = decoded(data, image, kernels)
        assert np.array_equal(z, image[2])
        for plane, (symbols, _, _, parity) in zip(planes, image[3], strict=True):
            inside = np.indices(symbols.shape)[1:].sum(axis=0) % 2
            mask = {Parity.ALL: inside >= 0, Parity.EVEN: inside == 0, Parity.ODD: inside == 1}[parity]
            assert plane.dtype == symbols.dtype
            assert np.array_equal(plane, np.where(mask, symbols, 0))


def outcome(data: bytes, image: Image, kernels: Kernels) -> Any:
    try:
        return [array.tolist() for array in decoded(data, image, kernels)]
    except PtpError as error:
        return type(error), str(error)


@settings(max_examples=200, deadline=None)
@given(images(), st.integers(0, 2**32 - 1))
def test_both_meet_another_index_with_the_same_error(image: Image, seed: int) -> None:
    """Desynchronised decoders read words and escapes that were never written; both kinds must notice it alike."""
    tables, header, z, steps = image
    data, random = encoded(image, Kernels.SCALAR), np.random.default_rng(seed)
    changed = []
    for symbols, indexes, first, parity in steps:
        other = random.random(indexes.shape) < 0.05
        drawn = random.integers(0, tables.scale_count + 1, indexes.shape)  # one of them has no table
        changed.append((symbols, np.where(other, drawn, indexes).astype(np.uint8), first, parity))
    wrong = Image(tables, header, z, changed)

    assert outcome(data, wrong, Kernels.VECTOR) == outcome(data, wrong, Kernels.SCALAR)


@settings(max_examples=150, deadline=None)
@given(images(), st.sampled_from(["index", "wide", "skipped"]), st.integers(0, 2**32 - 1))
def test_both_encoders_refuse_the_same(image: Image, fault: str, seed: int) -> None:
    """A bad index or symbol, at a position that the step looks at or at one that it does not."""
    tables, header, z, steps = image
    usable = [number for number, (symbols, *_) in enumerate(steps) if symbols.size]
    if not usable:
        return
    random = np.random.default_rng(seed)
    number = usable[seed % len(usable)]
    symbols, indexes, first, parity = steps[number]
    symbols, indexes, at = symbols.astype(np.int32), indexes.copy(), random.integers(symbols.size)
    if fault == "index":
        indexes.flat[at] = tables.scale_count
    elif fault == "wide":
        symbols.flat[at] = random.choice([32768, -32769, 2**31 - 1, -(2**31)])
        indexes.flat[at] = max(int(indexes.flat[at]), min(header.skip_index, tables.scale_count - 1))
    else:
        symbols.flat[at], indexes.flat[at] = 1, 0
    wrong = Image(tables, header, z, [*steps[:number], (symbols, indexes, first, parity), *steps[number + 1 :]])

    def answer(kernels: Kernels) -> Any:
        try:
            return encoded(wrong, kernels)
        except PtpError as error:
            return type(error), str(error)

    assert answer(Kernels.VECTOR) == answer(Kernels.SCALAR)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 700),
    st.sampled_from([8, 16, 32]),
    st.integers(0, 400),
)
def test_lanes_of_garbage_stop_where_the_scalar_ones_stop(seed: int, count: int, lanes: int, limit: int) -> None:
    """Any states, words and tables: the same members and states, and the same answer when the words run out."""
    random = np.random.default_rng(seed)
    tables = random.integers(0, GAUSSIAN.scale_count + GAUSSIAN.hyper_count, count).astype(np.uint16)
    start = random.integers(1 << 16, 1 << 32, lanes, dtype=np.uint32)
    words = random.integers(0, 1 << 16, limit + lanes).astype(np.uint16)
    ready(decode_kernels.decode_lanes)
    ready(decode_vector.decode_lanes)
    results = []
    for module in (decode_kernels, decode_vector):
        states, members = start.copy(), np.zeros(count, np.uint8)
        pointer = module.decode_lanes(tables, count, GAUSSIAN.decode_entries, states, words, 0, limit, members)
        results.append((pointer, states.tolist(), members.tolist()) if pointer >= 0 else pointer)

    assert results[0] == results[1]


@pytest.mark.parametrize("tables", [GAUSSIAN, EDGE, SHIFTED], ids=["Gaussian", "edge", "shifted"])
def test_codes_stand_for_the_integers_that_the_tables_name(tables: Tables) -> None:
    lookups = lookups_of(tables)
    assert lookups_of(tables) is lookups
    assert lookups.direct is (tables is not SHIFTED)
    for number, table in enumerate((*tables.scale_tables, *tables.hyper_tables)):
        direct = lookups.direct and number < tables.scale_count
        for value in range(-127, 128) if direct else range(table.offset, table.offset + table.size):
            member = min(value - table.offset, table.size) if value >= table.offset else table.size
            key = 256 * number + (value & 255 if direct else member)
            entry = int(lookups.encode_entries[key])
            assert entry & 0xFFFF == table.frequencies[member]
            assert entry >> 16 == sum(table.frequencies[:member])
            assert (int(lookups.prices[key]) >> 32 == 1) is (member == table.size)
        codes = lookups.decode_entries[4096 * number : 4096 * (number + 1)] & 255
        members = np.repeat(np.arange(table.size + 1), table.frequencies)
        expected = np.where(members == table.size, 128, members + table.offset & 255) if direct else members
        assert np.array_equal(codes, expected)


def test_auto_is_one_of_the_two() -> None:
    header = StreamHeader(identity=b"abcd", task=0, width=16, height=16, steps=0)
    image = Image(GAUSSIAN, replace(header, lanes=32), np.zeros((3, 2, 2), np.int16), [])

    assert encoded(image, Kernels.AUTO) == encoded(image, Kernels.SCALAR)
