"""The encoder's loops on vectors of eight lanes, for processors with AVX2.

The results are those of ``gather_kernels`` and ``encode_kernels``.

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
from ptp_runtime.coder.decode_vector import _largest
from ptp_runtime.coder.gather_kernels import _add_codes, _sum_up
from ptp_runtime.coder.gather_kernels import gather as _gather_scalar
from ptp_runtime.coder.signatures import (
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Signed,
    inner,
    kernel,
    read,
    write,
    write_rows,
)
from ptp_runtime.coder.vector_ir import I32 as _I32
from ptp_runtime.coder.vector_ir import I64 as _I64
from ptp_runtime.coder.vector_ir import WIDTH, Loop, Value

_u8, _u16, _u32, _u64 = types.uint8, types.uint16, types.uint32, types.uint64
_i16, _i32, _i64 = types.int16, types.int32, types.int64

BAD_SKIPPED = -3
OCCUPIED = 3
"""Both as in ``gather_kernels``."""
SLACK = WIDTH
"""Vectors are written whole: ``values``, ``keys`` and ``words`` need so much room beside what they hold."""

_Emitted = tuple[Any, Callable[..., Value]]

_WORD = np.uint64(0xFFFF)
_S12, _S16, _S20 = np.uint64(12), np.uint64(16), np.uint64(20)
_COUNT, _SEEN, _SKIPPED = (1 << 40) - 1, 1 << 48, 1 << 49
_ESCAPED = -128


def _pack_run(stride: int) -> Callable[..., Any]:
    """What packs values and keys of the coded ones of ``runs`` times eight positions: from ``first`` on all of them or,
    for stride 2, every second one, beginning with the ``odd``-th. It takes how many are packed already.

    Its result: the new count; whether one of the coded is not 0 (bit 48), or one of the skipped (49).
    """

    def declare(
        _context: Value,
        symbols: Value,
        indexes: Value,
        first: Value,
        runs: Value,
        odd: Value,
        skip: Value,
        count: Value,
        values: Value,
        keys: Value,
    ) -> _Emitted:
        narrow = symbols.dtype.bitwidth == 16

        def emit(context: Value, builder: Value, signature: Value, arguments: Value) -> Value:
            symbol_data, index_data, value_data, key_data = (
                v.data(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 7, 8)
            )
            first, runs, odd, skip, count = arguments[2:7]
            least, zero = v.splat(builder, builder.trunc(skip, _I32)), v.constant(_I32, 0)
            loop = Loop(builder, [_I64(0), first, count, zero, zero])
            done, place, have, seen, skipped = loop.values
            loop.begin(builder.icmp_signed("<", done, runs))
            index = builder.zext(v.load_spread(builder, v.I8, index_data, place, stride, odd), v.vector(_I32))
            value = v.load_spread(builder, v.I16 if narrow else _I32, symbol_data, place, stride, odd)
            value = builder.sext(value, v.vector(_I32)) if narrow else value
            is_coded = builder.icmp_signed(">=", index, least)
            coded = builder.sext(is_coded, v.vector(_I32))
            far = builder.icmp_unsigned(">", builder.add(value, v.constant(_I32, 127)), v.constant(_I32, 254))
            code = builder.and_(builder.select(far, v.constant(_I32, _ESCAPED), value), v.constant(_I32, 255))
            key = builder.or_(builder.shl(index, v.constant(_I32, 8)), code)
            mask = v.mask_bits(builder, is_coded)
            order = v.permutation(builder, v.PACK_FIRST, "pack_first", mask)
            v.store(builder, v.permute(builder, key, order), key_data, have)
            v.store(builder, builder.trunc(v.permute(builder, value, order), v.vector(v.I16)), value_data, have)
            loop.close(
                [
                    builder.add(done, _I64(1)),
                    builder.add(place, _I64(stride * WIDTH)),
                    builder.add(have, v.count_bits(builder, mask)),
                    builder.or_(seen, builder.and_(value, coded)),
                    builder.or_(skipped, builder.and_(value, builder.not_(coded))),
                ]
            )
            packed, seen, skipped = loop.values[2:]
            for bit, bits in ((48, seen), (49, skipped)):
                flag = builder.zext(builder.icmp_unsigned("!=", v.any_bit(builder, bits), _I64(0)), _I64)
                packed = builder.or_(packed, builder.shl(flag, _I64(bit)))
            return packed

        return types.int64(symbols, indexes, first, runs, odd, skip, count, values, keys), emit

    return declare


_pack_all = intrinsic(_pack_run(1))
_pack_half = intrinsic(_pack_run(2))


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


@inner
def _extremes(symbols: Signed) -> tuple[int, int]:
    """The least and the largest of the symbols and 0."""
    least, most = np.int32(0), np.int32(0)
    for i in range(symbols.size):
        symbol = np.int32(symbols[i])
        least, most = min(least, symbol), max(most, symbol)
    return int(least), int(most)


_gather = (
    *(read(_u8), _i64, _i64, _i64, _i64, _i64, _i64),
    *(read(_i32), read(_i32), read(_u64), write(_i16), write(_u32), write_rows(_i64)),
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
    prices: U64,
    values: I16,
    keys: U32,
    segments: I64,
) -> int:
    """As ``gather_kernels.gather`` with ``direct``; ``values`` and ``keys`` have SLACK more places than positions."""
    least, most = _extremes(symbols)
    if _largest(indexes) >= scale_count or least < -32768 or most > 32767:
        # perhaps where the step does not look
        return _gather_scalar(
            symbols,
            indexes,
            channels,
            rows,
            columns,
            parity,
            skip,
            scale_count,
            offsets,
            sizes,
            True,
            prices,
            values,
            keys,
            segments,
        )
    count, flags, stride = np.int64(0), np.int64(0), np.int64(1) if parity == 0 else np.int64(2)
    lines, line = (np.int64(1), rows * columns) if parity == 0 else (rows, columns)
    runs = line // (stride * WIDTH)
    for channel in range(channels):
        before, seen, start, stop = count, np.int64(0), channel * rows * columns, (channel + 1) * rows * columns
        empty = _largest(indexes[start:stop]) < skip and _extremes(symbols[start:stop]) == (0, 0)
        for row in range(0 if empty else lines):
            base = (channel * lines + row) * line
            odd = np.int64(0) if parity == 0 else (row + parity - 1) & 1
            if parity == 0:
                got = _pack_all(symbols, indexes, base, runs, odd, skip, count, values, keys)
            else:
                got = _pack_half(symbols, indexes, base, runs, odd, skip, count, values, keys)
            count, seen, flags = got & _COUNT, seen | got & _SEEN, flags | got & _SKIPPED
            begin = count
            for position in range(base + runs * stride * WIDTH + odd, base + line, stride):
                index, value = np.int64(indexes[position]), np.int64(symbols[position])
                if index >= skip:
                    values[count], keys[count] = np.int16(value), np.uint32(index)
                    seen |= value
                    count += 1
                else:
                    flags |= _SKIPPED if value != 0 else 0
            _add_codes(values, keys, np.uint64(begin), np.uint64(count), offsets, sizes, True)
        _sum_up(keys, np.uint64(before), np.uint64(count), prices, segments, channel)
        segments[channel, OCCUPIED] = 1 if seen != 0 else 0
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
