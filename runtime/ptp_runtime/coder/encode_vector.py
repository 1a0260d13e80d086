"""The encoder's loops on vectors of eight lanes, for processors with AVX2: the same results as ``encode_kernels``.

The quotient of a state and a frequency is taken in double precision and is exact all the same: state and frequency are
integers below 2^32 and 2^12, so a quotient that is no integer is at least 2^-12 away from one, while it is off by less
than 2^-32 before it is rounded down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from ptp_runtime.coder import vector_ir as v
from ptp_runtime.coder.encode_kernels import _add_codes, _sum_up
from ptp_runtime.coder.signatures import I16, I32, I64, U8, U16, U32, Signed, kernel, read, write, write_rows
from ptp_runtime.coder.vector_ir import I32 as _I32
from ptp_runtime.coder.vector_ir import I64 as _I64
from ptp_runtime.coder.vector_ir import WIDTH, Loop, Value

_u8, _u16, _u32, _u64 = types.uint8, types.uint16, types.uint32, types.uint64
_i16, _i32, _i64 = types.int16, types.int32, types.int64

BAD_INDEX, BAD_VALUE, BAD_SKIPPED = -1, -2, -3
"""As in ``encode_kernels``."""
OCCUPIED = 3
SLACK = WIDTH
"""Vectors are written whole: ``values``, ``keys`` and ``words`` need so much room beside what they hold."""

_Emitted = tuple[Any, Callable[..., Value]]

_WORD = np.uint64(0xFFFF)
_S12, _S16, _S20 = np.uint64(12), np.uint64(16), np.uint64(20)
_COUNT, _HIGHEST, _SEEN, _SKIPPED, _WIDE = (1 << 40) - 1, 0xFF, 1 << 48, 1 << 49, 1 << 50
_ESCAPED = -128


@intrinsic
def _pack_run(
    _context: Value,
    symbols: Value,
    indexes: Value,
    first: Value,
    runs: Value,
    lanes: Value,
    skip: Value,
    count: Value,
    values: Value,
    keys: Value,
) -> _Emitted:
    """``runs`` times eight positions from ``first`` on, those of ``lanes`` (a mask) whose index is at least ``skip``.

    Returns:
        The new count; from bit 40 on the largest index of ``lanes``; whether one of the coded is not 0 (bit 48), one of
        the skipped (49), or one has more than 16 bits (50).
    """
    element = symbols.dtype.bitwidth

    def emit(context: Value, builder: Value, signature: Value, arguments: Value) -> Value:
        source, index_data, value_data, key_data = (
            v.data(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 7, 8)
        )
        first, runs, lanes, skip, count = arguments[2:7]
        zero = v.constant(_I32, 0)
        wanted = builder.sext(builder.bitcast(builder.trunc(lanes, v.I8), v.vector(v.I1)), v.vector(_I32))
        least = v.splat(builder, builder.trunc(skip, _I32))
        loop = Loop(builder, [_I64(0), first, count, zero, zero, zero, zero])
        done, place, have, highest, seen, skipped, wide = loop.values
        loop.begin(builder.icmp_signed("<", done, runs))
        index = builder.and_(builder.zext(v.load(builder, v.I8, index_data, place), v.vector(_I32)), wanted)
        value = v.load(builder, v.I16 if element == 16 else _I32, source, place)
        value = builder.and_(builder.sext(value, v.vector(_I32)) if element == 16 else value, wanted)
        is_coded = builder.and_(builder.icmp_signed(">=", index, least), builder.trunc(wanted, v.vector(v.I1)))
        coded = builder.sext(is_coded, v.vector(_I32))
        far = builder.icmp_unsigned(">", builder.add(value, v.constant(_I32, 127)), v.constant(_I32, 254))
        code = builder.and_(builder.select(far, v.constant(_I32, _ESCAPED), value), v.constant(_I32, 255))
        key = builder.or_(builder.shl(index, v.constant(_I32, 8)), code)
        mask = v.mask_bits(builder, is_coded)
        order = v.permutation(builder, v.PACK_FIRST, "pack_first", mask)
        v.store(builder, v.permute(builder, key, order), key_data, have)
        v.store(builder, builder.trunc(v.permute(builder, value, order), v.vector(v.I16)), value_data, have)
        beyond = builder.lshr(builder.add(value, v.constant(_I32, 32768)), v.constant(_I32, 16))
        loop.close(
            [
                builder.add(done, _I64(1)),
                builder.add(place, _I64(WIDTH)),
                builder.add(have, v.count_bits(builder, mask)),
                builder.select(builder.icmp_unsigned(">", index, highest), index, highest),
                builder.or_(seen, builder.and_(value, coded)),
                builder.or_(skipped, builder.and_(value, builder.not_(coded))),
                builder.or_(wide, beyond),
            ]
        )
        _, _, packed, highest, seen, skipped, wide = loop.values
        packed = builder.or_(packed, builder.shl(v.largest(builder, highest), _I64(40)))
        for bit, flags in ((48, seen), (49, skipped), (50, wide)):
            flag = builder.zext(builder.icmp_unsigned("!=", v.any_bit(builder, flags), _I64(0)), _I64)
            packed = builder.or_(packed, builder.shl(flag, _I64(bit)))
        return packed

    return types.int64(symbols, indexes, first, runs, lanes, skip, count, values, keys), emit


def _rows_of(vectors: int) -> Callable[..., Any]:
    """What codes ``rows`` rows of ``vectors`` vectors from ``begin`` on, the last row first; ``first`` is the place of
    the last word that was written, and so is the result."""

    def declare(
        _context: Value,
        keys: Value,
        begin: Value,
        rows: Value,
        entries: Value,
        states: Value,
        words: Value,
        first: Value,
    ) -> _Emitted:
        def emit(context: Value, builder: Value, signature: Value, arguments: Value) -> Value:
            key_data, entry_data, state_data, word_data = (
                v.data(context, builder, signature.args[i], arguments[i]) for i in (0, 3, 4, 5)
            )
            begin, rows, first = (arguments[i] for i in (1, 2, 6))
            start = [v.load(builder, _I32, state_data, _I64(WIDTH * i)) for i in range(vectors)]
            loop = Loop(builder, [rows, first, *start])
            left, word, *lanes = loop.values
            loop.begin(builder.icmp_signed(">", left, _I64(0)))
            row = builder.sub(left, _I64(1))
            for number in reversed(range(vectors)):
                at = builder.add(begin, builder.mul(row, _I64(vectors * WIDTH)))
                key = v.load(builder, _I32, key_data, builder.add(at, _I64(number * WIDTH)))
                entry = v.look_up(builder, entry_data, key)
                lanes[number], word = _encode_vector(builder, entry, word_data, lanes[number], word)
            loop.close([row, word, *lanes])
            for number, state in enumerate(loop.values[2:]):
                v.store(builder, state, state_data, _I64(WIDTH * number))
            return loop.values[1]

        return types.int64(keys, begin, rows, entries, states, words, first), emit

    return declare


def _encode_vector(builder: Value, entry: Value, words: Value, state: Value, word: Value) -> tuple[Value, Value]:
    """One symbol in each of eight lanes: their next states and where the words begin now."""
    frequency = builder.and_(entry, v.constant(_I32, 0xFFFF))
    start = builder.lshr(entry, v.constant(_I32, 16))
    gives = builder.icmp_signed(">=", builder.lshr(state, v.constant(_I32, 20)), frequency)
    mask = v.mask_bits(builder, gives)
    order = v.permutation(builder, v.PACK_LAST, "pack_last", mask)
    given = builder.trunc(v.permute(builder, state, order), v.vector(v.I16))
    v.store(builder, given, words, builder.sub(word, _I64(WIDTH)))
    rest = builder.select(gives, builder.lshr(state, v.constant(_I32, 16)), state)
    doubles = v.vector(v.F64)
    exact = builder.fdiv(builder.uitofp(rest, doubles), builder.uitofp(frequency, doubles))
    quotient = builder.fptosi(exact, v.vector(_I32))
    remainder = builder.sub(rest, builder.mul(quotient, frequency))
    coded = builder.add(builder.add(builder.shl(quotient, v.constant(_I32, 12)), remainder), start)
    return coded, builder.sub(word, v.count_bits(builder, mask))


_rows_of_16 = intrinsic(_rows_of(2))
_rows_of_32 = intrinsic(_rows_of(4))

_gather = (
    *(read(_u8), _i64, _i64, _i64, _i64, _i64, _i64),
    *(read(_i32), read(_i32), read(_u32), write(_i16), write(_u32), write_rows(_i64)),
)


@kernel(_i64(read(_i16), *_gather), _i64(read(_i32), *_gather))
def gather_codes(
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
    prices: U32,
    values: I16,
    keys: U32,
    segments: I64,
) -> int:
    """As ``encode_kernels.gather`` with ``direct``; ``values`` and ``keys`` have SLACK more places than positions."""
    count, highest, flags = np.int64(0), np.int64(0), np.int64(0)
    lines, line = (np.int64(1), rows * columns) if parity == 0 else (rows, columns)
    runs = line // WIDTH
    for channel in range(channels):
        before, seen = count, np.int64(0)
        for row in range(lines):
            base = (channel * lines + row) * line
            odd = 0 if parity == 0 else (row + parity - 1) & 1
            lanes = 0xFF if parity == 0 else 0x55 << odd
            got = _pack_run(symbols, indexes, base, runs, lanes, skip, count, values, keys)
            count, highest, seen = got & _COUNT, max(highest, got >> 40 & _HIGHEST), seen | got & _SEEN
            flags |= got & (_SKIPPED | _WIDE)
            begin = count
            for position in range(base + runs * WIDTH + odd, base + line, 1 if parity == 0 else 2):
                index, value = np.int64(indexes[position]), np.int64(symbols[position])
                highest = max(highest, index)
                flags |= _WIDE if value < -32768 or value > 32767 else 0
                if index >= skip:
                    values[count], keys[count] = np.int16(value), np.uint32(index)
                    seen |= value
                    count += 1
                else:
                    flags |= _SKIPPED if value != 0 else 0
            _add_codes(values, keys, np.uint64(begin), np.uint64(count), offsets, sizes, True)
        if highest >= scale_count:
            return BAD_INDEX
        _sum_up(keys, np.uint64(before), np.uint64(count), prices, segments, channel)
        segments[channel, OCCUPIED] = 1 if seen != 0 else 0
    if flags & _WIDE:
        return BAD_VALUE
    return BAD_SKIPPED if flags & _SKIPPED else int(count)


@kernel(_i64(read(_u32), read(_i64), read(_u32), write(_u32), write(_u16)))
def encode_lanes(keys: U32, bounds: I64, entries: U32, states: U32, words: U16) -> int:
    """As ``encode_kernels.encode_lanes``; ``words`` has SLACK more places than symbols."""
    lanes = states.size
    first = words.size
    for step in range(bounds.size - 2, -1, -1):
        begin, position = bounds[step], bounds[step + 1]
        rows = (position - begin) // lanes if lanes >= 2 * WIDTH else 0
        while position > begin + rows * lanes:
            position -= 1
            lane = (position - begin) % lanes
            entry = np.uint64(entries[keys[position]])
            state = np.uint64(states[lane])
            frequency = entry & _WORD
            if (state >> _S20) >= frequency:
                first -= 1
                words[first] = np.uint16(state & _WORD)
                state = state >> _S16
            quotient = np.uint64(np.uint32(state) // np.uint32(frequency))
            states[lane] = np.uint32((quotient << _S12) + (state - quotient * frequency) + (entry >> _S16))
        if lanes == 32:
            first = _rows_of_32(keys, begin, rows, entries, states, words, first)
        elif lanes == 16:
            first = _rows_of_16(keys, begin, rows, entries, states, words, first)
    return first
