"""The coder's contract: order of calls, what is coded and what is not, choices, errors."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from ptp_runtime.bitstream import StreamHeader, read_header
from ptp_runtime.bitstream.header import split_stream
from ptp_runtime.bitstream.prefix import PayloadPrefix, take_prefix
from ptp_runtime.coder import Parity, StreamDecoder, StreamEncoder, warm_up
from ptp_runtime.errors import CorruptStreamError, DesynchronisedError, StreamError, UsageError, WrongModelError
from ptp_runtime.tables import Table, Tables, gaussian_tables, table_from_pmf

pytestmark = pytest.mark.runtime

TABLES = Tables.build(gaussian_tables(), [table_from_pmf(np.array([0.1, 0.6, 0.2]), -1) for _ in range(4)])
HEADER = StreamHeader(identity=b"abcd", task=1, width=100, height=50, steps=2)
Z = np.zeros((4, 1, 2), np.int16)


def drawn(shape: tuple[int, ...], level: int, seed: int = 0) -> tuple[Any, Any]:
    """Symbols and scale indices around a level; skipped symbols are 0."""
    random = np.random.default_rng(seed)
    indexes = np.clip(random.normal(level, 6, shape), 0, 63).astype(np.uint8)
    symbols = np.rint(random.normal(0, 0.11 * 1.1309 ** indexes.astype(np.float64))).astype(np.int32)
    symbols[indexes < 2] = 0
    return symbols, indexes


def encoded(header: StreamHeader, *steps: tuple[Any, Any, Parity], z: Any = Z, tables: Tables = TABLES) -> bytes:
    encoder = StreamEncoder(tables, dataclasses.replace(header, steps=len(steps)))
    encoder.z_step(z)
    for symbols, indexes, parity in steps:
        encoder.step(symbols, indexes, 0, parity)
    return encoder.finish()


def decoded(data: bytes, *steps: tuple[Any, Parity], z: Any = Z, tables: Tables = TABLES) -> list[Any]:
    decoder = StreamDecoder(data, tables)
    out = [decoder.z_step(*z.shape[1:])] + [decoder.step(indexes, 0, parity) for indexes, parity in steps]
    decoder.finish()
    return out


def prefix_of(data: bytes) -> PayloadPrefix:
    header, payload = split_stream(data)
    return take_prefix(payload, header)[0]


def test_what_goes_in_comes_out() -> None:
    symbols, indexes = drawn((8, 6, 10), 15)
    z = np.array([[[-1, 5]], [[0, 1]], [[32767, -32768]], [[0, 0]]], np.int32)

    data = encoded(HEADER, (symbols, indexes, Parity.ALL), z=z)
    got_z, got_y = decoded(data, (indexes, Parity.ALL), z=z)

    assert np.array_equal(got_z, z)
    assert np.array_equal(got_y, symbols)
    assert (got_z.dtype, got_y.dtype) == (np.int32, np.int32)


def test_a_checkerboard_puts_each_half_into_its_step() -> None:
    symbols, indexes = drawn((5, 7, 9), 20)
    even = np.indices(symbols.shape)[1:].sum(axis=0) % 2 == 0

    data = encoded(HEADER, (symbols, indexes, Parity.EVEN), (symbols, indexes, Parity.ODD))
    _, anchors, others = decoded(data, (indexes, Parity.EVEN), (indexes, Parity.ODD))

    assert np.array_equal(anchors, np.where(even, symbols, 0))
    assert np.array_equal(others, np.where(even, 0, symbols))


def test_indices_of_the_other_parity_are_not_looked_at() -> None:
    symbols, indexes = drawn((2, 4, 4), 20)
    data = encoded(HEADER, (symbols, indexes, Parity.EVEN))
    odd = np.indices(symbols.shape)[1:].sum(axis=0) % 2 == 1

    _, got = decoded(data, (np.where(odd, 255, indexes).astype(np.uint8), Parity.EVEN))

    assert np.array_equal(got, np.where(odd, 0, symbols))


def test_skipped_symbols_cost_nothing_and_are_zero() -> None:
    indexes = np.ones((16, 32, 32), np.uint8)
    data = encoded(HEADER, (np.zeros_like(indexes, np.int32), indexes, Parity.ALL))
    _, got = decoded(data, (indexes, Parity.ALL))

    assert len(data) <= len(encoded(HEADER)) + 2, "only the tail field says that z is not the last step"
    assert not got.any()


def test_a_skip_index_of_zero_codes_everything() -> None:
    symbols, indexes = np.full((2, 3, 4), -3, np.int32), np.zeros((2, 3, 4), np.uint8)
    header = dataclasses.replace(HEADER, skip_index=0)

    _, got = decoded(encoded(header, (symbols, indexes, Parity.ALL)), (indexes, Parity.ALL))

    assert np.array_equal(got, symbols)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_symbols_may_be_decoded_into_an_array_of_the_caller(dtype: Any) -> None:
    symbols, indexes = drawn((3, 4, 5), 20)
    decoder = StreamDecoder(encoded(HEADER, (symbols.astype(dtype), indexes, Parity.ALL)), TABLES)
    decoder.z_step(1, 2)
    out = np.full(symbols.shape, 99, dtype)

    assert decoder.step(indexes, 0, out=out) is out
    assert np.array_equal(out, symbols)


def test_arrays_need_not_be_contiguous() -> None:
    symbols, indexes = drawn((6, 8, 10), 20)
    plain = encoded(HEADER, (symbols, indexes, Parity.ALL))

    assert encoded(HEADER, (np.asfortranarray(symbols), np.asfortranarray(indexes), Parity.ALL)) == plain
    assert np.array_equal(decoded(plain, (np.asfortranarray(indexes), Parity.ALL))[1], symbols)


def test_the_same_symbols_give_the_same_bytes() -> None:
    symbols, indexes = drawn((20, 16, 16), 18)
    encoder = StreamEncoder(TABLES, dataclasses.replace(HEADER, steps=1))
    encoder.z_step(Z)
    encoder.step(symbols, indexes, 0)

    assert encoder.finish() == encoder.finish() == encoded(HEADER, (symbols, indexes, Parity.ALL))


@pytest.mark.parametrize(("channels", "lanes"), [(8, 8), (30, 16), (120, 32)])
def test_the_lanes_follow_the_size(channels: int, lanes: int) -> None:
    symbols, indexes = drawn((channels, 32, 32), 16)
    data = encoded(HEADER, (symbols, indexes, Parity.ALL))

    assert read_header(data).lanes == lanes
    assert {8: len(data) < 3000, 16: 3000 <= len(data) < 8100, 32: len(data) > 8000}[lanes]


@pytest.mark.parametrize("lanes", [8, 16, 32])
def test_a_writer_may_fix_the_lanes(lanes: int) -> None:
    symbols, indexes = drawn((10, 16, 16), 16)
    data = encoded(dataclasses.replace(HEADER, lanes=lanes), (symbols, indexes, Parity.ALL))

    assert read_header(data).lanes == lanes
    assert np.array_equal(decoded(data, (indexes, Parity.ALL))[1], symbols)


def test_all_zero_channels_are_named_once_and_not_coded() -> None:
    symbols, indexes = drawn((64, 16, 16), 14)
    symbols[20:60] = 0
    indexes[20:60] = 10

    data = encoded(HEADER, (symbols, indexes, Parity.EVEN), (symbols, indexes, Parity.ODD))
    _, anchors, others = decoded(data, (indexes, Parity.EVEN), (indexes, Parity.ODD))

    assert read_header(data).zero_map
    assert [c for c, dead in enumerate(prefix_of(data).zero_map) if dead] == list(range(20, 60))
    assert np.array_equal(anchors + others, symbols)


def test_a_channel_that_is_zero_in_one_step_only_stays_live() -> None:
    symbols, indexes = drawn((64, 16, 16), 14)
    symbols[20:60] = 0
    indexes[20:60] = 10
    symbols[20:60, 0, 1] = 1

    data = encoded(HEADER, (symbols, indexes, Parity.EVEN), (symbols, indexes, Parity.ODD))

    assert not read_header(data).zero_map


def test_no_zero_map_where_it_would_cost_more_than_it_saves() -> None:
    symbols, indexes = np.ones((9, 2, 2), np.int32), np.full((9, 2, 2), 20, np.uint8)
    symbols[8] = 0
    indexes[8] = 2

    assert not read_header(encoded(HEADER, (symbols, indexes, Parity.ALL))).zero_map


def test_zero_that_must_be_escaped_is_never_left_out() -> None:
    tables = Tables.build([Table(5, (4000, 96))], [])
    header = dataclasses.replace(HEADER, skip_index=0)
    z, indexes = np.zeros((0, 1, 1), np.int16), np.zeros((4, 5, 5), np.uint8)

    data = encoded(header, (np.zeros((4, 5, 5), np.int16), indexes, Parity.ALL), z=z, tables=tables)

    assert not read_header(data).zero_map
    assert not decoded(data, (indexes, Parity.ALL), z=z, tables=tables)[1].any()


def test_a_few_expensive_symbols_fill_the_tail() -> None:
    symbols, indexes = drawn((100, 32, 32), 3)
    expensive, wide = drawn((4, 32, 32), 30, seed=1)

    data = encoded(HEADER, (np.concatenate([expensive, symbols]), np.concatenate([wide, indexes]), Parity.ALL))
    tail = prefix_of(data).tail

    assert tail.least_table > 20
    assert 5 < tail.symbols < 100


def test_empty_steps_are_steps() -> None:
    symbols, indexes = drawn((3, 4, 4), 20)
    nothing = np.zeros((0, 4, 4), np.int32), np.zeros((0, 4, 4), np.uint8)
    skipped = np.zeros((3, 4, 4), np.int32), np.zeros((3, 4, 4), np.uint8)

    data = encoded(HEADER, *[(*step, Parity.ALL) for step in (nothing, (symbols, indexes), skipped, nothing)])
    out = decoded(data, *[(step[1], Parity.ALL) for step in (nothing, (symbols, indexes), skipped, nothing)])

    assert np.array_equal(out[2], symbols)
    assert not out[3].any()


def test_a_stream_of_nothing_at_all_is_a_stream() -> None:
    tables, z = Tables.build(gaussian_tables(), []), np.zeros((0, 1, 1), np.int16)

    data = encoded(HEADER, z=z, tables=tables)

    assert decoded(data, z=z, tables=tables)[0].shape == (0, 1, 1)
    assert len(data) < 50


@pytest.mark.parametrize("number", [1, 2, 3])
def test_step_checks_name_the_first_step_that_differs(number: int) -> None:
    symbols, indexes = drawn((4, 8, 8), 20)
    header = dataclasses.replace(HEADER, step_checks=True)
    data = encoded(header, *[(symbols, indexes, Parity.ALL)] * 3)
    other = indexes.copy()
    other[2, 3, 4] += 1
    decoder = StreamDecoder(data, TABLES)
    decoder.z_step(1, 2)

    for _ in range(1, number):
        decoder.step(indexes, 0)
    with pytest.raises(DesynchronisedError, match=f"in step {number}"):
        decoder.step(other, 0)


@pytest.mark.parametrize("checked", [True, False])
def test_another_witness_is_noticed_like_another_symbol(checked: bool) -> None:
    """At its own step where there are checks, else at the end."""
    symbols, indexes = drawn((4, 8, 8), 20)
    encoder = StreamEncoder(TABLES, dataclasses.replace(HEADER, step_checks=checked, steps=2))
    encoder.z_step(Z)
    encoder.step(symbols, indexes, 0, witness=0xFFFFFFFF)
    encoder.step(symbols, indexes, 0, witness=0x12345678)
    decoder = StreamDecoder(encoder.finish(), TABLES)
    decoder.z_step(1, 2)
    assert np.array_equal(decoder.step(indexes, 0, witness=0xFFFFFFFF), symbols)

    def rest() -> None:
        decoder.step(indexes, 0, witness=0x12345679)
        decoder.finish()

    with pytest.raises(DesynchronisedError) as caught:
        rest()

    assert caught.value.step == (2 if checked else None)
    assert ("in step 2" if checked else "behind its last step") in str(caught.value)


def test_step_checks_cost_a_byte_a_step() -> None:
    steps = [(*drawn((4, 8, 8), 20), Parity.ALL)] * 3
    plain, checked = (encoded(dataclasses.replace(HEADER, step_checks=on), *steps) for on in (False, True))

    assert len(checked) - len(plain) in range(2, 7)


@pytest.mark.parametrize("change", [-1, 1])
def test_one_other_index_is_noticed_at_the_latest_in_finish(change: int) -> None:
    symbols, indexes = drawn((6, 10, 10), 12)
    data = encoded(HEADER, (symbols, indexes, Parity.ALL))
    for at in range(0, indexes.size, 7):
        other = indexes.copy()
        other.flat[at] = min(63, max(0, int(other.flat[at]) + change))
        coded = max(int(other.flat[at]), int(indexes.flat[at])) >= 2
        if coded and other.flat[at] != indexes.flat[at]:
            with pytest.raises(DesynchronisedError):
                decoded(data, (other, Parity.ALL))


def test_the_hash_sees_an_index_that_changes_no_symbol() -> None:
    """Two indices with one and the same table: lanes, words and symbols agree, only layer (d) can tell."""
    table = gaussian_tables([1.0])[0]
    tables, z = Tables.build([table, table], []), np.zeros((0, 1, 1), np.int16)
    header = dataclasses.replace(HEADER, skip_index=0)
    symbols = np.arange(24, dtype=np.int32).reshape(2, 3, 4) % 3 - 1
    indexes = np.zeros((2, 3, 4), np.uint8)
    data = encoded(header, (symbols, indexes, Parity.ALL), z=z, tables=tables)
    other = indexes.copy()
    other[1, 1, 1] = 1

    with pytest.raises(DesynchronisedError, match="hash of symbols and scale indices"):
        decoded(data, (other, Parity.ALL), z=z, tables=tables)


def test_another_identity_or_task_is_refused() -> None:
    data = encoded(HEADER)

    StreamDecoder(data, TABLES, identity=b"abcdef", task=1, steps=0)
    StreamDecoder(data, TABLES, identity=b"abcd".hex() + "00" * 28)
    with pytest.raises(WrongModelError, match="identity 61626365; got 61626364"):
        StreamDecoder(data, TABLES, identity=b"abce")
    with pytest.raises(WrongModelError, match="expected task 2; got 1"):
        StreamDecoder(data, TABLES, identity=b"abcd", task=2)
    with pytest.raises(CorruptStreamError, match="expected 3; got 0"):
        StreamDecoder(data, TABLES, identity=b"abcd", steps=3)


def test_a_decoder_bounds_the_image_by_the_header_alone() -> None:
    data = encoded(dataclasses.replace(HEADER, width=65535, height=65535))

    with pytest.raises(StreamError, match="at most 16777216 pixels"):
        StreamDecoder(data, TABLES)
    with pytest.raises(StreamError, match="at most 8191 pixels"):
        StreamDecoder(encoded(HEADER), TABLES, max_pixels=8191)
    StreamDecoder(encoded(HEADER), TABLES, max_pixels=8192)
    StreamDecoder(encoded(dataclasses.replace(HEADER, width=4096, height=4096)), TABLES)


def _encoder(steps: int = 1) -> StreamEncoder:
    return StreamEncoder(TABLES, dataclasses.replace(HEADER, steps=steps))


def _begun() -> StreamEncoder:
    encoder = _encoder()
    encoder.z_step(Z)
    return encoder


ONE = np.ones((1, 1, 1), np.int32)
TEN = np.full((1, 1, 1), 10, np.uint8)


def test_steps_have_an_order() -> None:
    with pytest.raises(UsageError, match="z first"):
        _encoder().step(ONE, TEN, 0)
    with pytest.raises(UsageError, match="z again"):
        _begun().z_step(Z)
    with pytest.raises(UsageError, match="z and 1 of y; got z and 0"):
        _begun().finish()
    with pytest.raises(UsageError, match="got nothing"):
        _encoder().finish()
    encoder = _begun()
    encoder.step(ONE, TEN, 0)
    with pytest.raises(UsageError, match="one more"):
        encoder.step(ONE, TEN, 0)

    data = encoder.finish()
    decoder = StreamDecoder(data, TABLES)
    with pytest.raises(UsageError, match="z first"):
        decoder.step(TEN, 0)
    decoder.z_step(1, 2)
    with pytest.raises(UsageError, match="z again"):
        decoder.z_step(1, 2)
    with pytest.raises(UsageError, match="steps"):
        decoder.finish()
    decoder.step(TEN, 0)
    with pytest.raises(UsageError, match="one more"):
        decoder.step(TEN, 0)
    decoder.finish()


@pytest.mark.parametrize(
    ("symbols", "indexes", "first", "fault"),
    [
        (ONE.astype(np.float32), TEN, 0, "int16 or int32; got float32"),
        (ONE.astype(np.int64), TEN, 0, "int16 or int32; got int64"),
        (ONE[0], TEN[0], 0, "shape"),
        (ONE, TEN[:, :, :0], 0, "shape"),
        (ONE, TEN.astype(np.int32), 0, "uint8"),
        (ONE, TEN * 0 + 64, 0, "below 64"),
        (ONE, TEN * 0 + 1, 0, "below 2"),
        (ONE * 32768, TEN, 0, "32767"),
        (ONE * -32769, TEN, 0, "-32768"),
        (ONE * 2147483647, TEN, 0, "32767"),
        (ONE, TEN, -1, "channels"),
        (ONE, TEN, 65535, "channels"),
    ],
)
def test_an_encoder_refuses_what_no_decoder_could_read(symbols: Any, indexes: Any, first: int, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        _begun().step(symbols, indexes, first)


@pytest.mark.parametrize(
    ("z", "fault"),
    [
        (Z.astype(np.float64), "float64"),
        (Z[:3], "expected 4; got 3"),
        (Z[0], "shape"),
        (Z.astype(np.int32) + 32768, "16 bits"),
        (Z.astype(np.int32) - 32769, "16 bits"),
    ],
)
def test_z_has_its_channels_and_16_bits(z: Any, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        _encoder().z_step(z)


@pytest.mark.parametrize(
    ("indexes", "out", "fault"),
    [
        (TEN * 0 + 64, None, "below 64"),
        (TEN.astype(np.int16), None, "uint8"),
        (TEN[0], None, "shape"),
        (TEN, np.zeros((1, 1, 1), np.int64), "int16 or int32"),
        (TEN, np.zeros((1, 1, 2), np.int32), "int16 or int32"),
        (np.full((2, 1, 2), 10, np.uint8), np.zeros((2, 2, 1), np.int32).transpose(0, 2, 1)[:, :, ::-1], "C order"),
    ],
)
def test_a_decoder_refuses_arrays_it_cannot_use(indexes: Any, out: Any, fault: str) -> None:
    encoder = _begun()
    encoder.step(ONE, TEN, 0)
    decoder = StreamDecoder(encoder.finish(), TABLES)
    decoder.z_step(1, 2)

    with pytest.raises(UsageError, match=fault):
        decoder.step(indexes, 0, out=out)


def test_images_can_be_coded_side_by_side_in_threads() -> None:
    images = [drawn((30, 24, 24), 12 + seed % 5, seed) for seed in range(16)]

    def both(image: tuple[Any, Any]) -> bool:
        data = encoded(HEADER, (*image, Parity.ALL))
        return bool(np.array_equal(decoded(data, (image[1], Parity.ALL))[1], image[0]))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(both, images)) == [True] * 16


def test_warming_up_needs_nothing() -> None:
    warm_up()
