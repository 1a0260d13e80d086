"""What stands between header and words: varints, zero map, tail field, lane states."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.bitstream.header import StreamHeader
from ptp_runtime.bitstream.prefix import (
    MAX_CHANNELS,
    Tail,
    put_sealed,
    put_states,
    take_prefix,
    take_states,
    zero_map_from_channels,
)
from ptp_runtime.bitstream.varint import put_varint, take_varint
from ptp_runtime.errors import CorruptStreamError, TruncatedStreamError, UsageError

pytestmark = pytest.mark.runtime

EIGHT = tuple(1 << (16 + 2 * lane) for lane in range(8))


def header(*, zero_map: bool = False, step_checks: bool = False, steps: int = 3) -> StreamHeader:
    return StreamHeader(
        identity=bytes(4), task=0, width=1, height=1, steps=steps, lanes=8, zero_map=zero_map, step_checks=step_checks
    )


@pytest.mark.parametrize(
    ("value", "spelling"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**35 - 1, "ffffffff7f")],
)
def test_a_varint_is_spelled_like_this(value: int, spelling: str) -> None:
    raw = bytes.fromhex(spelling)

    assert put_varint(value) == raw
    assert take_varint(memoryview(b"!" + raw + b"!"), 1, "x") == (value, 1 + len(raw))


def test_a_varint_has_bounds() -> None:
    for value in (-1, 2**35):
        with pytest.raises(UsageError):
            put_varint(value)
    with pytest.raises(TruncatedStreamError, match="x"):
        take_varint(memoryview(b"\x80"), 0, "x")
    for raw in (b"\x80\x00", b"\x80" * 5, b"\x80" * 6):
        with pytest.raises(CorruptStreamError, match="x"):
            take_varint(memoryview(raw), 0, "x")


def test_lane_states_are_packed_like_this() -> None:
    """4 bits for the top bit's place less 16, then the bits below it, from the low bit upwards."""
    assert put_states([0x10000]) == bytes([0, 0, 0])
    assert put_states([0x1ABCD]) == bytes.fromhex("d0bc0a")
    assert put_states([0xFFFFFFFF]) == bytes.fromhex("ffffffff07")
    assert put_states([0x10000, 0x1ABCD]) == bytes.fromhex("000000cdab")


@settings(deadline=None)
@given(st.sampled_from([8, 16, 32]).flatmap(lambda n: st.lists(st.integers(2**16, 2**32 - 1), min_size=n, max_size=n)))
def test_lane_states_come_back_as_they_went(states: list[int]) -> None:
    packed = put_states(states)

    assert take_states(memoryview(packed), 0, len(states)) == (tuple(states), len(packed))
    assert take_states(memoryview(b"ab" + packed + b"cd"), 2, len(states)) == (tuple(states), len(packed) + 2)
    with pytest.raises((TruncatedStreamError, CorruptStreamError)):
        take_states(memoryview(packed[:-1]), 0, len(states))


def test_filling_bits_of_the_states_are_zero() -> None:
    packed = bytearray(put_states([0x20000] + [0x10000] * 7))
    assert len(packed) == 21, "161 bits: seven are filling"

    packed[-1] |= 0x80
    with pytest.raises(CorruptStreamError, match="filled"):
        take_states(memoryview(packed), 0, 8)


def test_a_prefix_comes_back_as_it_went() -> None:
    sealed = put_sealed(zero_map_from_channels([False, True], [True, True]), Tail(5, 17, 2))
    raw = sealed + b"\x0a\x0b\x0c\x0d" + put_states(EIGHT) + b"words"

    prefix, seen, begin = take_prefix(memoryview(raw), header(zero_map=True, step_checks=True))

    assert prefix.zero_map == b"\x00\x01"
    assert prefix.tail == Tail(5, 17, 2)
    assert prefix.step_checks == b"\x0a\x0b\x0c\x0d"
    assert prefix.states == EIGHT
    assert seen == sealed
    assert raw[begin:] == b"words"


@pytest.mark.parametrize("tail", [Tail(1, 0, 4), Tail(0, 0, 1), Tail(0, 3, 0)], ids=["step", "back", "table"])
def test_an_impossible_tail_is_refused(tail: Tail) -> None:
    with pytest.raises(CorruptStreamError, match="tail"):
        take_prefix(memoryview(put_sealed(b"", tail) + put_states(EIGHT)), header())


def test_a_payload_shorter_than_its_own_fields_is_corrupt_not_truncated() -> None:
    raw = put_sealed(b"\x06\x01\x02\x04", Tail(5, 0, 0)) + b"abcd" + put_states(EIGHT)

    for size in range(len(raw)):
        with pytest.raises(CorruptStreamError):
            take_prefix(memoryview(raw[:size]), header(zero_map=True, step_checks=True))


@pytest.mark.parametrize(
    ("dead", "coded", "spelling"),
    [
        ([False, False], [True, True], ""),
        ([True, True], [False, False], ""),
        ([False, True], [True, True], "02 02"),
        ([True, False, False], [True, True, True], "02 01"),
        ([False] * 100 + [True] * 200, [True] * 300, "05 64 c801"),
        ([True] * 50, [True] * 50, "05 00 32"),
        ([False, True, False, True], [True, True, False, True], "02 0e"),
    ],
    ids=["none", "none coded", "bits", "first", "runs", "all", "uncoded joins"],
)
def test_a_zero_map_takes_its_shorter_spelling(dead: list[bool], coded: list[bool], spelling: str) -> None:
    assert zero_map_from_channels(dead, coded) == bytes.fromhex(spelling)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([(False, True), (True, True), (False, False)]), max_size=200), st.integers(0, 2))
def test_a_zero_map_names_exactly_the_dead_channels(marks: list[tuple[bool, bool]], stretch: int) -> None:
    marks = [mark for mark in marks for _ in range(1 + 20 * stretch)]
    dead, coded = [d for d, _ in marks], [c for _, c in marks]
    raw = zero_map_from_channels(dead, coded)
    if not any(dead):
        assert raw == b""
        return

    prefix, _, _ = take_prefix(memoryview(raw + b"\x00" + put_states(EIGHT)), header(zero_map=True))

    read = list(prefix.zero_map) + [False] * (len(marks) - len(prefix.zero_map))
    assert [r for r, c in zip(read, coded, strict=True) if c] == [d for d, c in marks if c]


@pytest.mark.parametrize(
    "spelling",
    ["00", "0200", "01", "03 05", "05 05 00", "07 01 01 01", "05 00 80 80 04", "feff01 01"],
    ids=["no bytes", "zero byte", "no runs", "one run", "empty run", "odd runs", "too many channels", "too many bytes"],
)
def test_an_impossible_zero_map_is_refused(spelling: str) -> None:
    raw = bytes.fromhex(spelling) + b"\x00" + put_states(EIGHT)

    with pytest.raises(CorruptStreamError):
        take_prefix(memoryview(raw), header(zero_map=True))


def test_a_forged_zero_map_of_as_many_channels_as_can_be_takes_a_byte_for_each() -> None:
    runs = put_varint(0) + put_varint(MAX_CHANNELS)
    raw = put_varint(2 * 2 + 1) + runs + b"\x00" + put_states(EIGHT)
    tracemalloc.start()

    prefix, _, _ = take_prefix(memoryview(raw), header(zero_map=True))

    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(prefix.zero_map) == MAX_CHANNELS
    assert most < 4 * MAX_CHANNELS
