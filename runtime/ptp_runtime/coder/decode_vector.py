"""The decoder's loops on vectors of eight lanes, for processors with AVX2: the same results as ``decode_kernels``.

Lanes of a row that is short, and columns that fill no vector, go through plain code. Nothing reads or writes beyond its
arrays, whatever the bytes say: ``select`` checks the scale indices, a row takes at most as many words as it has lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from ptp_runtime.coder import vector_ir as v
from ptp_runtime.coder.decode_kernels import _take_escape
from ptp_runtime.coder.decode_kernels import decode_tail as _decode_tail
from ptp_runtime.coder.decode_kernels import select as _select_scalar
from ptp_runtime.coder.signatures import I8, I32, I64, U8, U16, U32, Signed, inner, kernel, read, write
from ptp_runtime.coder.vector_ir import I32 as _I32
from ptp_runtime.coder.vector_ir import I64 as _I64
from ptp_runtime.coder.vector_ir import WIDTH, Loop, Value

_i8, _u8, _u16, _u32 = types.int8, types.uint8, types.uint16, types.uint32
_i16, _i32, _i64 = types.int16, types.int32, types.int64

BAD_INDEX, LOST_POINTER, BAD_ESCAPE, SHORT_TAIL, LOST_LANES = -1, -2, -3, -4, -5
"""What ``decode_step`` returns instead of a count."""
BEFORE, BEGINS, AFTER = 0, 1, 2
"""Where a step stands to the one in which the tail begins."""
ESCAPED = -128
"""The code of an escaped symbol in ``Lookups.decode_entries``; other codes are the symbols themselves."""
SLACK = WIDTH
"""``select`` writes whole vectors: ``positions`` and ``tables`` need so much room behind the last position."""

_Emitted = tuple[Any, Callable[..., Value]]

_LOW = np.uint64(1 << 16)
_SLOT = np.uint64(4095)
_MEMBER = np.uint64(255)
_S8, _S12, _S16, _S20 = np.uint64(8), np.uint64(12), np.uint64(16), np.uint64(20)
_MIX = np.uint32(0x9E3779B1)
_MIX_SHIFT = np.uint32(15)
_ONE32, _TWO32 = np.uint32(1), np.uint32(2)


def _pack_run(stride: int) -> Callable[..., Any]:
    """What packs those of ``runs`` times eight positions whose index is ``skip`` … ``until`` - 1: from ``first`` on all
    of them or, for stride 2, every second one, beginning with the ``odd``-th; it takes and returns how many are packed
    already."""

    def declare(
        _context: Value,
        indexes: Value,
        first: Value,
        runs: Value,
        odd: Value,
        skip: Value,
        until: Value,
        count: Value,
        positions: Value,
        tables: Value,
    ) -> _Emitted:
        def emit(context: Value, builder: Value, signature: Value, arguments: Value) -> Value:
            kinds = signature.args
            source, positions, tables = (v.data(context, builder, kinds[i], arguments[i]) for i in (0, 7, 8))
            first, runs, odd, skip, until, count = arguments[1:7]
            least, width = (v.splat(builder, builder.trunc(n, _I32)) for n in (skip, builder.sub(until, skip)))
            loop = Loop(builder, [_I64(0), first, count])
            done, place, have = loop.values
            loop.begin(builder.icmp_signed("<", done, runs))
            index = builder.zext(v.load_spread(builder, v.I8, source, place, stride, odd), v.vector(_I32))
            mask = v.mask_bits(builder, builder.icmp_unsigned("<", builder.sub(index, least), width))
            order = v.permutation(builder, v.PACK_FIRST, "pack_first", mask)
            v.store(builder, builder.trunc(v.permute(builder, index, order), v.vector(v.I16)), tables, have)
            base = builder.trunc(builder.add(place, odd), _I32)
            steps = order if stride == 1 else builder.shl(order, v.constant(_I32, 1))
            v.store(builder, builder.add(steps, v.splat(builder, base)), positions, have)
            have = builder.add(have, v.count_bits(builder, mask))
            loop.close([builder.add(done, _I64(1)), builder.add(place, _I64(stride * WIDTH)), have])
            return loop.values[2]

        return types.int64(indexes, first, runs, odd, skip, until, count, positions, tables), emit

    return declare


_pack_all = intrinsic(_pack_run(1))
_pack_half = intrinsic(_pack_run(2))


def _rows_of(vectors: int) -> Callable[..., Any]:
    """What decodes whole rows of ``vectors`` vectors; its arguments are those of ``decode_lanes``, with a row count."""

    def declare(
        _context: Value,
        tables: Value,
        rows: Value,
        entries: Value,
        states: Value,
        words: Value,
        pointer: Value,
        limit: Value,
        members: Value,
    ) -> _Emitted:
        def emit(context: Value, builder: Value, signature: Value, arguments: Value) -> Value:
            tables, entries, states, words, members = (
                v.data(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 3, 4, 7)
            )
            rows, pointer, limit = (arguments[i] for i in (1, 5, 6))
            start = [v.load(builder, _I32, states, _I64(WIDTH * i)) for i in range(vectors)]
            loop = Loop(builder, [_I64(0), pointer, *start])
            row, word, *lanes = loop.values
            loop.begin(
                builder.and_(builder.icmp_signed("<", row, rows), builder.icmp_signed("<=", word, limit)),
            )
            after = []
            for number, state in enumerate(lanes):
                at = builder.add(builder.mul(row, _I64(vectors * WIDTH)), _I64(number * WIDTH))
                state, taken = _decode_vector(builder, tables, entries, words, members, at, state, word)
                word = builder.add(word, taken)
                after.append(state)
            loop.close([builder.add(row, _I64(1)), word, *after])
            for number, state in enumerate(loop.values[2:]):
                v.store(builder, state, states, _I64(WIDTH * number))
            return loop.values[1]

        return types.int64(tables, rows, entries, states, words, pointer, limit, members), emit

    return declare


def _decode_vector(
    builder: Value, tables: Value, entries: Value, words: Value, members: Value, at: Value, state: Value, word: Value
) -> tuple[Value, Value]:
    """Eight symbols at ``at``: their members stored, their lanes' next states and how many words these took."""
    table = builder.zext(v.load(builder, v.I16, tables, at), v.vector(_I32))
    slot = builder.and_(state, v.constant(_I32, 4095))
    entry = v.look_up(builder, entries, builder.or_(builder.shl(table, v.constant(_I32, 12)), slot))
    v.store(builder, builder.trunc(entry, v.vector(v.I8)), members, at)
    frequency = builder.lshr(entry, v.constant(_I32, 20))
    within = builder.and_(builder.lshr(entry, v.constant(_I32, 8)), v.constant(_I32, 4095))
    state = builder.add(builder.mul(frequency, builder.lshr(state, v.constant(_I32, 12))), within)
    needs = builder.icmp_signed("==", builder.lshr(state, v.constant(_I32, 16)), v.constant(_I32, 0))
    mask = v.mask_bits(builder, needs)
    order = v.permutation(builder, v.EXPAND, "expand", mask)
    dealt = v.permute(builder, builder.zext(v.load(builder, v.I16, words, word), v.vector(_I32)), order)
    filled = builder.or_(builder.shl(state, v.constant(_I32, 16)), dealt)
    return builder.select(needs, filled, state), v.count_bits(builder, mask)


_rows_of_16 = intrinsic(_rows_of(2))
_rows_of_32 = intrinsic(_rows_of(4))


@inner
def _largest(indexes: U8) -> int:
    highest = np.uint8(0)
    for i in range(indexes.size):
        highest = max(highest, indexes[i])
    return int(highest)


_select = (read(_u8), _i64, _i64, _i64, _i64, _i64, read(_u8), _i64, write(_i32), write(_u16), _i64)


@kernel(_i64(*_select))
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
    until: int,
) -> int:
    """As ``decode_kernels.select``, of indices below ``until`` only.

    ``positions`` and ``tables`` have SLACK more places than there are positions.
    """
    suspect = _largest(indexes) >= scale_count  # perhaps at a position that the step does not look at
    arguments = indexes, channels, rows, columns, parity, skip, live, scale_count, positions, tables
    if suspect and _select_scalar(*arguments) < 0:
        return BAD_INDEX
    count, stride = np.int64(0), np.int64(1) if parity == 0 else np.int64(2)
    lines, line = (np.int64(1), rows * columns) if parity == 0 else (rows, columns)
    runs = line // (stride * WIDTH)
    for channel in range(channels):
        plane = rows * columns
        if live[channel] == 0 or _largest(indexes[channel * plane : (channel + 1) * plane]) < skip:
            continue
        for row in range(lines):
            base = (channel * lines + row) * line
            odd = np.int64(0) if parity == 0 else (row + parity - 1) & 1
            if parity == 0:
                count = _pack_all(indexes, base, runs, odd, skip, until, count, positions, tables)
            else:
                count = _pack_half(indexes, base, runs, odd, skip, until, count, positions, tables)
            for position in range(base + runs * stride * WIDTH + odd, base + line, stride):
                index = np.int64(indexes[position])
                positions[count] = np.int32(position)
                tables[count] = np.uint16(index)
                count += 1 if skip <= index < until else 0
    return int(count)


@kernel(_i64(read(_u16), _i64, read(_u32), write(_u32), read(_u16), _i64, _i64, write(_u8)))
def decode_lanes(
    tables: U16, count: int, entries: U32, states: U32, words: U16, pointer: int, limit: int, members: U8
) -> int:
    """As ``decode_kernels.decode_lanes``."""
    lanes = states.size
    rows = count // lanes
    if lanes == 32:
        pointer = _rows_of_32(tables, rows, entries, states, words, pointer, limit, members)
    elif lanes == 16:
        pointer = _rows_of_16(tables, rows, entries, states, words, pointer, limit, members)
    else:
        rows = 0
    for base in range(rows * lanes, count, lanes):
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


@inner
def _mixed(value: np.int64, table: np.int64) -> int:
    """What a symbol and its table add to the hash, before its weight."""
    mixed = np.uint32(np.uint32(np.uint16(value)) | np.uint32(np.uint32(table) + _ONE32) << np.uint32(16))
    mixed = np.uint32(mixed * _MIX)
    return np.uint32(mixed ^ (mixed >> _MIX_SHIFT))  # type: ignore[return-value]


_place = (read(_i8), read(_u16), read(_i32), _i64, read(_i32), read(_i32), read(_i32), read(_u8), _i64, _i64, _u32)
_placed = types.Tuple((_i64, _u32))


@kernel(_placed(*_place, write(_i16), types.boolean), _placed(*_place, write(_i32), types.boolean))
def place_codes(
    codes: I8,
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
    in_order: bool,
) -> tuple[int, int]:
    """As ``decode_kernels.place``, from codes instead of members; simple loops, which LLVM turns into vectors.

    Args:
        in_order: the positions ascend, as ``select`` leaves them.
    """
    total = np.uint32(state)
    first = np.uint32(2 * number + 1)
    least = np.int8(0)
    for i in range(count):
        code = codes[i]
        least = min(least, code)
        mixed = np.uint32(np.uint32(np.uint16(code)) | np.uint32(np.uint32(tables[i]) + _ONE32) << np.uint32(16))
        mixed = np.uint32(mixed * _MIX)
        mixed = np.uint32(mixed ^ (mixed >> _MIX_SHIFT))
        total = np.uint32(total + np.uint32(mixed * np.uint32(first + np.uint32(_TWO32 * np.uint32(i)))))
    if in_order and count == out.size:
        for i in range(count):
            out[i] = codes[i]
    else:
        for i in range(np.uint64(count)):
            out[np.uint64(positions[i])] = codes[i]
    if least != ESCAPED:
        return bit, int(total)
    for i in range(count):
        if codes[i] != ESCAPED:
            continue
        table = np.int64(tables[i])
        coded, bit = _take_escape(region, bit, int(orders[table]))
        if bit < 0:
            return -1, int(total)
        distance = coded >> 1
        offset = np.int64(offsets[table])
        value = offset - 1 - distance if coded & 1 else offset + np.int64(sizes[table]) + distance
        if value < -32768 or value > 32767:
            return -1, int(total)
        weight = np.uint32(first + np.uint32(_TWO32 * np.uint32(i)))
        total = np.uint32(total + np.uint32(_mixed(value, table) * weight))
        total = np.uint32(total - np.uint32(_mixed(np.int64(ESCAPED), table) * weight))
        out[np.uint64(positions[i])] = value
    return bit, int(total)


_step = (
    *(read(_u8), _i64, _i64, _i64, _i64, _i64, read(_u8), _i64),
    *(_i64, _i64, _i64, write(_u16), write(_i64)),
    *(read(_u32), write(_u32), read(_u16), _i64),
    *(read(_i32), read(_i32), read(_i32), read(_u8), _i64, _i64, _u32),
    *(write(_i32), write(_u16), write(_i8)),
)
_stepped = types.Tuple((_i64, _i64, _i64, _u32))


@kernel(_stepped(*_step, write(_i16)), _stepped(*_step, write(_i32)))
def decode_step(
    indexes: U8,
    channels: int,
    rows: int,
    columns: int,
    parity: int,
    skip: int,
    live: U8,
    scale_count: int,
    phase: int,
    least: int,
    in_tail: int,
    tail_words: U16,
    tail: I64,
    entries: U32,
    states: U32,
    words: U16,
    pointer: int,
    offsets: I32,
    sizes: I32,
    orders: I32,
    region: U8,
    bit: int,
    number: int,
    state: int,
    positions: I32,
    tables: U16,
    codes: I8,
    out: Signed,
) -> tuple[int, int, int, int]:
    """A whole step of y: ``select``, ``decode_lanes``, ``decode_tail``, ``place_codes``, in one call without the GIL.

    Args:
        phase: BEFORE the step in which the tail begins, the step in which it BEGINS, or AFTER it.
        least, in_tail: where it begins, the table number from which on a symbol may belong to it, and how many do.
        tail_words: [lanes - 2], what rode in the lanes; filled where the tail begins.
        tail: state and position of the tail's decoder.
        entries: ``Lookups.decode_entries``.
        positions, tables, codes: room for all positions and SLACK more.

    Returns:
        How many symbols are coded, the next word, the next bit of the bypass, the hash. Or, instead of a count,
        BAD_INDEX, LOST_POINTER, BAD_ESCAPE; SHORT_TAIL, and how many symbols might belong to it; LOST_LANES, and how
        many are not back at their start.
    """
    first, early = skip, 0
    if phase == BEGINS and least > skip:
        first = least
        early = select(indexes, channels, rows, columns, parity, skip, live, scale_count, positions, tables, least)
        if early < 0:
            return BAD_INDEX, pointer, bit, state
    late = select(
        indexes, channels, rows, columns, parity, first, live, scale_count, positions[early:], tables[early:], 256
    )
    if late < 0:
        return BAD_INDEX, pointer, bit, state
    if phase == BEGINS and late < in_tail:
        return SHORT_TAIL, late, bit, state
    count = early + late
    lead = count if phase == BEFORE else count - in_tail if phase == BEGINS else 0
    symbols = codes.view(np.uint8)
    pointer = decode_lanes(tables, lead, entries, states, words, pointer, region.size // 2, symbols)
    if pointer < 0:
        return LOST_POINTER, pointer, bit, state
    if phase == BEGINS:
        off = 0
        for lane in range(states.size):
            off += 0 if states[lane] >> np.uint32(16) == 1 else 1
            if lane >= 2:
                tail_words[lane - 2] = np.uint16(states[lane])
        if off:
            return LOST_LANES, off, bit, state
    if phase != BEFORE:
        tail[0], tail[1] = _decode_tail(tables, lead, count, entries, tail_words, tail[0], tail[1], symbols)
    bit, state = place_codes(
        codes, tables, positions, count, offsets, sizes, orders, region, bit, number, state, out, early == 0
    )
    return count if bit >= 0 else BAD_ESCAPE, pointer, bit, state
