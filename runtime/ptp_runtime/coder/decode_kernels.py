"""The decoder's compiled loops; what they rely on is written above the encoder's (``encode_kernels``).

They are given bytes that nobody vouches for: whatever the states, words and bypass hold, no loop reads or writes beyond
its arrays, and each ends after as many rounds as there are symbols.
"""

from __future__ import annotations

import numpy as np
from numba import types

from ptp_runtime.coder.signatures import I32, U8, U16, U32, Signed, inner, kernel, read, write

_u8, _u16, _u32, _u64 = types.uint8, types.uint16, types.uint32, types.uint64
_i16, _i32, _i64 = types.int16, types.int32, types.int64

BAD_INDEX = -1
"""What ``select`` returns instead of a count."""
MAX_PREFIX = 16
"""Zeros in front of an Exp-Golomb number: the distance of a 16-bit escape is below 2^16."""

_ZERO, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)
_LOW = np.uint64(1 << 16)
_SLOT = np.uint64(4095)
_MEMBER = np.uint64(255)
_S8, _S12, _S16, _S20 = np.uint64(8), np.uint64(12), np.uint64(16), np.uint64(20)
_MIX = np.uint32(0x9E3779B1)
_MIX_SHIFT = np.uint32(15)
_ONE32 = np.uint32(1)


@kernel(_i64(read(_u8), _i64, _i64, _i64, _i64, _i64, read(_u8), _i64, write(_i32), write(_u16)))
def select(
    indexes: U8,
    channels: int,
    rows: int,
    columns: int,
    parity: int,
    skip: int,
    live: U8,
    scale_count: int,
    positions: I32,
    tables: U16,
) -> int:
    """Lists the coded positions of a step in C order, with the table of each.

    Args:
        indexes: [channels·rows·columns] scale indices; those of the other parity are not looked at.
        parity: 0 all positions, 1 those with (row + column) even, 2 odd.
        skip: indices below are not coded.
        live: [channels] 0 for a channel that the zero map names.
        positions, tables: room for all positions.

    Returns:
        How many are coded, or BAD_INDEX.
    """
    count, base, line = _ZERO, _ZERO, np.uint64(columns)
    highest = np.uint8(0)
    stride = _ONE if parity == 0 else _TWO
    for channel in range(channels):
        threshold = np.int32(skip) if live[channel] != 0 else np.int32(256)
        for row in range(rows):
            first = _ZERO if parity == 0 else np.uint64((row + parity - 1) & 1)
            for position in range(base + first, base + line, stride):
                index = indexes[position]
                highest = max(highest, index)
                positions[count] = np.int32(position)
                tables[count] = index
                count += np.uint64(np.int32(index) >= threshold)
            base += line
    return int(np.int64(count)) if highest < scale_count else int(np.int64(BAD_INDEX))


@kernel(_i64(read(_u16), _i64, read(_u32), write(_u32), read(_u16), _i64, _i64, write(_u8)))
def decode_lanes(
    tables: U16, count: int, entries: U32, states: U32, words: U16, pointer: int, limit: int, members: U8
) -> int:
    """Decodes ``count`` symbols, dealt to the lanes in turn from lane 0.

    The pointer is looked at once a row, so ``words`` must have a row's worth of padding behind ``limit``.

    Args:
        pointer: the next word; words from ``limit`` on do not exist.

    Returns:
        The pointer behind the last word read, or -1 when that is past ``limit``.
    """
    lanes = states.size
    for base in range(0, count, lanes):
        if pointer > limit:
            return -1
        for lane in range(min(lanes, count - base)):
            state = np.uint64(states[lane])
            entry = np.uint64(entries[np.uint64(tables[base + lane]) << _S12 | state & _SLOT])
            members[base + lane] = np.uint8(entry & _MEMBER)
            state = (entry >> _S20) * (state >> _S12) + ((entry >> _S8) & _SLOT)
            if state < _LOW:
                state = state << _S16 | np.uint64(words[pointer])
                pointer += 1
            states[lane] = np.uint32(state)
    return pointer if pointer <= limit else -1


@kernel(_i64(write(_i32), write(_u16), _i64))
def move_late(positions: I32, tables: U16, least: int) -> int:
    """Moves the symbols of table ``least`` and above behind the others; each group keeps its order.

    Returns:
        How many were moved.
    """
    count = np.uint64(tables.size)
    late_positions, late_tables = np.empty(tables.size, np.int32), np.empty(tables.size, np.uint16)
    early, late = _ZERO, _ZERO
    for i in range(count):
        position, table = positions[i], tables[i]
        positions[early], tables[early] = position, table
        late_positions[late], late_tables[late] = position, table
        is_late = np.uint64(np.int64(table) >= least)
        late += is_late
        early += _ONE - is_late
    for i in range(late):
        positions[early + i], tables[early + i] = late_positions[i], late_tables[i]
    return int(np.int64(late))


@kernel(types.UniTuple(_i64, 2)(read(_u16), _i64, _i64, read(_u32), read(_u16), _i64, _i64, write(_u8)), brief=True)
def decode_tail(
    tables: U16, start: int, stop: int, entries: U32, words: U16, state: int, pointer: int, members: U8
) -> tuple[int, int]:
    """Decodes symbols ``start … stop - 1`` of a step from the tail's words; refills while there are any.

    Returns:
        State and pointer.
    """
    x = np.uint64(state)
    position = start
    while True:
        while x < _LOW and pointer < words.size:
            x = x << _S16 | np.uint64(words[pointer])
            pointer += 1
        if position >= stop:
            return int(np.int64(x)), int(np.int64(pointer))
        entry = np.uint64(entries[np.uint64(tables[position]) << _S12 | x & _SLOT])
        members[position] = np.uint8(entry & _MEMBER)
        x = (entry >> _S20) * (x >> _S12) + ((entry >> _S8) & _SLOT)
        position += 1


@inner
def _bit(region: U8, bit: int) -> int:
    """Bit of the bypass, which begins at the end of ``region``; -1 when it lies before the beginning."""
    byte = region.size - 1 - (bit >> 3)
    if byte < 0:
        return -1
    return int((np.int64(region[byte]) >> (bit & 7)) & 1)


@inner
def _take_escape(region: U8, bit: int, order: int) -> tuple[int, int]:
    """Reads an escape at ``bit``: its distance·2 + sign and the bit behind it, or -1 twice when there is none."""
    prefix = 0
    while True:
        got = _bit(region, bit)
        bit += 1
        if got == 1:
            break
        prefix += 1
        if got < 0 or prefix > MAX_PREFIX:
            return -1, -1
    if (bit + prefix + order) >> 3 >= region.size:
        return -1, -1
    number = np.int64(1) << prefix
    for shift in range(prefix):
        number |= _bit(region, bit) << shift
        bit += 1
    distance = (number - 1) << order
    for shift in range(order):
        distance |= _bit(region, bit) << shift
        bit += 1
    return int(distance * 2 + _bit(region, bit)), bit + 1


_place = (read(_u8), read(_u16), read(_i32), _i64, read(_i32), read(_i32), read(_i32), read(_u8), _i64, _i64, _u32)


@kernel(types.Tuple((_i64, _u32))(*_place, write(_i16)), types.Tuple((_i64, _u32))(*_place, write(_i32)))
def place(
    members: U8,
    tables: U16,
    positions: I32,
    count: int,
    offsets: I32,
    sizes: I32,
    orders: I32,
    region: U8,
    bit: int,
    number: int,
    state: int,
    out: Signed,
) -> tuple[int, int]:
    """Turns members into integers, reads escapes, hashes, and writes each integer to its position.

    Args:
        region: words and bypass; the bypass is read from the end backwards.
        bit: the next bit of the bypass.
        number: how many symbols of the stream came before.
        state: their hash.
        out: zeros.

    Returns:
        The next bit, or -1 when an escape is malformed, and the hash.
    """
    total = np.uint32(state)
    weight = np.uint32(2 * number + 1)
    for i in range(np.uint64(count)):
        table = np.uint64(tables[i])
        member = np.int64(members[i])
        size = np.int64(sizes[table])
        value = np.int64(offsets[table]) + member
        if member == size:
            coded, bit = _take_escape(region, bit, int(orders[table]))
            if bit < 0:
                return -1, int(total)
            distance = coded >> 1
            value = np.int64(offsets[table]) - 1 - distance if coded & 1 else value + distance
            if value < -32768 or value > 32767:
                return -1, int(total)
        mixed = np.uint32(np.uint32(np.uint16(value)) | np.uint32(np.uint32(table) + _ONE32) << np.uint32(16))
        mixed = np.uint32(mixed * _MIX)
        mixed = np.uint32(mixed ^ (mixed >> _MIX_SHIFT))
        total = np.uint32(total + np.uint32(mixed * weight))
        weight = np.uint32(weight + np.uint32(2))
        out[np.uint64(positions[i])] = value
    return bit, int(total)
