"""The encoder's compiled loops that collect symbols: keys from integers, and the sums that its choices need.

A *key* stands for a symbol and its table (``lookups``). A *segment* is what one channel has in one step.
"""

from __future__ import annotations

import numpy as np
from numba import types

from ptp_runtime.coder.signatures import (
    I16,
    I32,
    I64,
    U8,
    U32,
    U64,
    Signed,
    inner,
    kernel,
    read,
    read_rows,
    write,
    write_rows,
)

_u8, _u32, _u64 = types.uint8, types.uint32, types.uint64
_i16, _i32, _i64 = types.int16, types.int32, types.int64

BAD_INDEX, BAD_VALUE, BAD_SKIPPED = -1, -2, -3
"""What ``gather`` returns instead of a count: an index without a table, an integer of more than 16 bits, a symbol that
is skipped and not 0."""
COUNT, PRICE, ESCAPES, OCCUPIED = 0, 1, 2, 3
"""Columns of ``segments``: coded symbols; what they cost in 1/256 bit, without the bits of escapes; how many of them
are escaped; 1 where one of them is not 0."""

_ZERO, _ONE, _TWO, _THREE = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_LOW = np.uint64(1 << 16)
_PRICE = np.uint64(0xFFFFFFFF)
_S8, _S32 = np.uint64(8), np.uint64(32)


@inner
def _add_codes(
    values: I16, keys: U32, start: np.uint64, stop: np.uint64, offsets: I32, sizes: I32, direct: bool
) -> None:
    """Makes keys of table numbers: adds to each the code of its symbol."""
    for i in range(start, stop):
        table, value = np.uint64(keys[i]), np.int64(values[i])
        if direct:
            code = np.uint64(np.uint8(value if -128 < value < 128 else -128))
        else:
            code = min(np.uint64(value - np.int64(offsets[table])), np.uint64(sizes[table]))
        keys[i] = np.uint32(table << _S8 | code)


@inner
def _sum_up(keys: U32, start: np.uint64, stop: np.uint64, prices: U64, segments: I64, row: int) -> None:
    """Fills a segment's count, price and escapes. One sum carries both for a while, as long as neither overflows."""
    total, escapes, begin = _ZERO, _ZERO, start
    while begin < stop:
        end = min(stop, begin + _LOW)
        both = _ZERO
        for i in range(begin, end):
            both += prices[keys[i]]
        total += both & _PRICE
        escapes += both >> _S32
        begin = end
    segments[row, COUNT] = np.int64(stop - start)
    segments[row, PRICE] = np.int64(total)
    segments[row, ESCAPES] = np.int64(escapes)


@kernel(types.void(read_rows(_i64), read(_i64), read(_i64), write_rows(_i64), write_rows(_i64)), brief=True)
def sum_segments(segments: I64, firsts: I64, sizes: I64, by_step: I64, by_channel: I64) -> None:
    """Adds the segments up.

    Args:
        firsts: for each step the channel of y that its first segment is; -1 for z.
        sizes: for each step how many segments it has.
        by_step: [steps, 4], zeros.
        by_channel: [channels of y, 4], zeros.
    """
    row = 0
    for step in range(sizes.size):
        for number in range(sizes[step]):
            for column in range(4):
                amount = segments[row, column]
                by_step[step, column] += amount
                if firsts[step] >= 0:
                    by_channel[firsts[step] + number, column] += amount
            row += 1


_keep = (read(_i16), read(_u32), read_rows(_i64), read(_i64), read(_i64), read(_u8), write(_i16), write(_u32))


@kernel(types.void(*_keep, write_rows(_i64)))
def keep_live(
    values: I16,
    keys: U32,
    segments: I64,
    firsts: I64,
    sizes: I64,
    dead: U8,
    kept_values: I16,
    kept_keys: U32,
    kept_segments: I64,
) -> None:
    """Copies the symbols and segments of channels that are not marked in ``dead``; other segments become 0."""
    start, to, row = _ZERO, _ZERO, 0
    for step in range(sizes.size):
        for number in range(sizes[step]):
            count = np.uint64(segments[row, COUNT])
            live = firsts[step] < 0 or dead[firsts[step] + number] == 0
            if live:
                for i in range(count):
                    kept_values[to + i], kept_keys[to + i] = values[start + i], keys[start + i]
                to += count
            for column in range(4):
                kept_segments[row, column] = segments[row, column] if live else 0
            start += count
            row += 1


_gather = (
    *(read(_u8), _i64, _i64, _i64, _i64, _i64, _i64),
    *(read(_i32), read(_i32), types.boolean, read(_u64), write(_i16), write(_u32), write_rows(_i64)),
)


@kernel(_i64(read(_i16), *_gather), _i64(read(_i32), *_gather))
def gather(
    symbols: Signed,
    indexes: U8,
    channels: int,
    rows: int,
    columns: int,
    parity: int,
    skip: int,
    scale_count: int,
    offsets: I32,
    sizes: I32,
    direct: bool,
    prices: U64,
    values: I16,
    keys: U32,
    segments: I64,
) -> int:
    """Collects the coded symbols of a step in C order; the encoder's side of ``select``.

    Args:
        direct, prices: of the lookups.
        values, keys: room for all positions of the step.
        segments: [channels, 4], filled.

    Returns:
        How many symbols are coded, or BAD_INDEX, BAD_VALUE (more than 16 bits) or BAD_SKIPPED (not 0 although skipped).
    """
    count, base, line = _ZERO, _ZERO, np.uint64(columns)
    highest = np.uint8(0)
    threshold = np.int32(skip)
    wide = np.uint32(0)
    skipped = np.int32(0)
    stride = _ONE if parity == 0 else _TWO
    for channel in range(channels):
        before = count
        seen = np.int32(0)
        for row in range(rows):
            first = _ZERO if parity == 0 else np.uint64((row + parity - 1) & 1)
            for position in range(base + first, base + line, stride):
                index = indexes[position]
                value = np.int32(symbols[position])
                highest = max(highest, index)
                wide |= np.uint32(value + np.int32(32768))
                values[count] = np.int16(value)
                keys[count] = np.uint32(index)
                coded = np.int32(index) >= threshold
                mask = -np.int32(coded)
                seen |= value & mask
                skipped |= value & ~mask
                count += np.uint64(coded)
            base += line
        if highest >= scale_count:
            return BAD_INDEX
        _add_codes(values, keys, before, count, offsets, sizes, direct)
        _sum_up(keys, before, count, prices, segments, channel)
        segments[channel, OCCUPIED] = 1 if seen != 0 else 0
    if wide > np.uint32(0xFFFF):
        return BAD_VALUE
    return int(np.int64(count)) if skipped == 0 else int(np.int64(BAD_SKIPPED))


_gather_hyper = (_i64, _i64, _i64, read(_i32), read(_i32), read(_u64), write(_i16), write(_u32), write_rows(_i64))


@kernel(_i64(read(_i16), *_gather_hyper), _i64(read(_i32), *_gather_hyper))
def gather_hyper(
    symbols: Signed,
    channels: int,
    positions: int,
    scale_count: int,
    offsets: I32,
    sizes: I32,
    prices: U64,
    values: I16,
    keys: U32,
    segments: I64,
) -> int:
    """Collects all symbols of z; arguments as ``gather``'s, with the positions of one channel.

    Returns:
        How many symbols there are, or BAD_VALUE.
    """
    count = _ZERO
    wide = np.uint32(0)
    for channel in range(channels):
        before = count
        for _ in range(positions):
            value = np.int32(symbols[count])
            wide |= np.uint32(value + np.int32(32768))
            values[count] = np.int16(value)
            keys[count] = np.uint32(scale_count + channel)
            count += _ONE
        _add_codes(values, keys, before, count, offsets, sizes, False)
        _sum_up(keys, before, count, prices, segments, channel)
        segments[channel, OCCUPIED] = 1
    return int(np.int64(count)) if wide <= np.uint32(0xFFFF) else int(np.int64(BAD_VALUE))


@kernel(_i64(write(_u32), write(_i16), _i64, _i64, _i64))
def move_late(keys: U32, values: I16, start: int, stop: int, least: int) -> int:
    """Among symbols ``start … stop - 1``, moves those of table ``least`` and above behind the others, as a reader will.

    Returns:
        How many were moved.
    """
    late_keys, late_values = np.empty(stop - start, np.uint32), np.empty(stop - start, np.int16)
    early, late, first = np.uint64(start), _ZERO, np.uint32(least << 8)
    for i in range(np.uint64(start), np.uint64(stop)):
        key, value = keys[i], values[i]
        keys[early], values[early] = key, value
        late_keys[late], late_values[late] = key, value
        is_late = np.uint64(key >= first)
        late += is_late
        early += _ONE - is_late
    for i in range(late):
        keys[early + i], values[early + i] = late_keys[i], late_values[i]
    return int(np.int64(late))


@kernel(types.void(read(_u32), _i64, _i64, read(_u64), write(_i64)), brief=True)
def sum_by_table(keys: U32, start: int, stop: int, prices: U64, totals: I64) -> None:
    """Adds to ``totals`` [256] what symbols ``start … stop - 1`` of a step of y cost, by table."""
    # Four sums a table: neighbours often have one table, and would wait for each other's sum.
    sums = np.zeros(1024, np.uint64)
    for i in range(np.uint64(start), np.uint64(stop)):
        key = np.uint64(keys[i])
        sums[(i & _THREE) << _S8 | key >> _S8] += prices[key] & _PRICE
    for table in range(256):
        for part in range(4):
            totals[table] += np.int64(sums[256 * part + table])
