"""What stands between the header and the words of a payload: zero map, tail field, step checks, lane states.

Layout: ``docs/bitstream-format.md``, section "Payload".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ptp_runtime.bitstream.header import StreamHeader
from ptp_runtime.bitstream.varint import put_varint, take_varint
from ptp_runtime.errors import CorruptStreamError, TruncatedStreamError

MAX_CHANNELS = 65535
MAX_TAIL = 1023
"""Symbols of the tail within its first step: 10 bits."""


@dataclass(frozen=True)
class Tail:
    """Which symbols ride in the initial states: the last of one step, and everything behind that step.

    Attributes:
        symbols: how many of the step, 0 … 1023; 0 = no tail.
        least_table: only symbols of this table number and above count (0 … 255), so that a few expensive symbols fill
            the room that many cheap ones would.
        back: how many steps before the last one this step is.
    """

    symbols: int
    least_table: int
    back: int


@dataclass(frozen=True)
class PayloadPrefix:
    """The payload up to its first word.

    Attributes:
        zero_map: a byte for each channel, 1 where all its symbols are 0, else 0; channels beyond the end are live.
            Empty = no map.
        tail: what rides in the initial states.
        step_checks: one byte for z and each y step, or nothing.
        states: what each lane's coder state is before the first symbol is decoded, 2^16 … 2^32 - 1.
    """

    zero_map: bytes
    tail: Tail
    step_checks: bytes
    states: tuple[int, ...]


def put_sealed(zero_map: bytes, tail: Tail) -> bytes:
    """The part of the prefix that the symbol hash starts from: zero map (already in bytes) and tail field."""
    return zero_map + put_varint(tail.symbols | tail.least_table << 10 | tail.back << 18)


def take_prefix(payload: memoryview, header: StreamHeader) -> tuple[PayloadPrefix, bytes, int]:
    """Reads the prefix; returns it, its sealed bytes (zero map and tail field) and where the words begin.

    Raises:
        CorruptStreamError: a field that no writer gives, or a payload too short for its own prefix (the CRC and the
            length agree with each other, so this is no truncation).
    """
    try:
        zero_map, position = _take_zero_map(payload) if header.zero_map else (b"", 0)
        field, position = take_varint(payload, position, "the tail field")
        sealed = bytes(payload[:position])
        end = position + (header.steps + 1) * header.step_checks
        checks = bytes(payload[position:end])
        states, position = take_states(payload, end, header.lanes)
    except TruncatedStreamError as error:
        raise CorruptStreamError(
            "the payload is shorter than its own fields", expected=error.expected, got=error.got
        ) from error
    tail = Tail(field & MAX_TAIL, field >> 10 & 255, field >> 18)
    if tail.back > header.steps or (tail.symbols == 0 and field > 0):
        raise CorruptStreamError("the tail field is impossible", expected=f"up to {header.steps} steps", got=str(tail))
    return PayloadPrefix(zero_map, tail, checks, states), sealed, position


def put_states(states: Sequence[int]) -> bytes:
    """Packs states of 2^16 … 2^32 - 1: 4 bits for the position of the top bit less 16, then the bits below the top bit.

    A state is spread like 1/x, so this spends about 28 of its 32 bits. Fields follow one another from the low bit of
    the first byte upwards; the last byte is filled with zeros.
    """
    value = width = 0
    for state in states:
        top = state.bit_length() - 1
        value |= (top - 16 | (state - (1 << top)) << 4) << width
        width += 4 + top
    return value.to_bytes(-(-width // 8), "little")


def take_states(payload: memoryview, position: int, lanes: int) -> tuple[tuple[int, ...], int]:
    """Reads ``lanes`` states; returns them and the position behind their last byte.

    Raises:
        TruncatedStreamError: the payload ends before the last state.
        CorruptStreamError: the filling bits are not 0.
    """
    stop = min(len(payload), position + (lanes * 35 + 7) // 8)
    value, have, used = int.from_bytes(payload[position:stop], "little"), 8 * max(0, stop - position), 0
    states: list[int] = []
    for _ in range(lanes):
        top = 16 + (value >> used & 15)
        if used + 4 + top > have:
            raise TruncatedStreamError(
                "the stream ends in the lane states", expected=f"{lanes} states", got=str(len(states))
            )
        states.append(1 << top | value >> (used + 4) & (1 << top) - 1)
        used += 4 + top
    size = -(-used // 8)
    if value >> used & (1 << (8 * size - used)) - 1:
        raise CorruptStreamError("the lane states are not filled up with zeros")
    return tuple(states), position + size


def zero_map_from_channels(dead: Sequence[bool], coded: Sequence[bool]) -> bytes:
    """The shorter of the two spellings of a zero map.

    Args:
        dead: for each channel whether every coded symbol in it is 0.
        coded: for each channel whether it has coded symbols at all; the others may take either mark.

    Returns:
        Nothing when no coded channel is dead, else a varint ``2·n + form`` and n bytes (form 0: one bit a channel, low
        bit first, 1 = dead) or n varints (form 1: lengths of alternating runs, live first).
    """
    marks: list[bool] = []
    for is_dead, is_coded in zip(dead, coded, strict=True):
        marks.append(is_dead if is_coded else bool(marks and marks[-1]))
    while marks and not (marks[-1] and coded[len(marks) - 1]):
        marks.pop()
    if not marks:
        return b""
    bits = int("".join("1" if mark else "0" for mark in reversed(marks)), 2)
    raw = bits.to_bytes(-(-len(marks) // 8), "little")
    runs = [0] * marks[0] + [len(list(run)) for _, run in groupby(marks)]
    spelled = bytes(runs) if max(runs) < 128 else b"".join(map(put_varint, runs))
    flat, listed = put_varint(2 * len(raw)) + raw, put_varint(2 * len(runs) + 1) + spelled
    return listed if len(listed) < len(flat) else flat


def _take_zero_map(payload: memoryview) -> tuple[bytes, int]:
    # Bytes, not objects: whoever forges a stream may claim as many channels as there can be, for a few bytes.
    head, position = take_varint(payload, 0, "the zero map")
    count = head >> 1
    if head & 1 == 0:
        raw = bytes(payload[position : position + count])
        if len(raw) < count:
            raise TruncatedStreamError("the stream ends in the zero map", expected=f"{count} bytes", got=str(len(raw)))
        if not 1 <= count <= MAX_CHANNELS // 8 or raw[-1] == 0:
            raise CorruptStreamError("the zero map has an impossible length", got=f"{count} bytes")
        bits = int.from_bytes(raw, "little")
        return bytes(bits >> channel & 1 for channel in range(bits.bit_length())), position + count
    marks = bytearray()
    for number in range(count):
        run, position = take_varint(payload, position, "the zero map")
        if len(marks) + run > MAX_CHANNELS or (run == 0 and number > 0):
            raise CorruptStreamError("the zero map has an impossible run", got=f"{run} channels")
        marks += bytes([number & 1]) * run
    if count == 0 or count & 1:
        raise CorruptStreamError("the zero map ends in live channels", got=f"{count} runs")
    return bytes(marks), position
