"""The encoder's compiled loops: interleaved rANS on integers, one thread, no floating point.

Invariants that encoder and decoder keep:

* A lane's state x is in [2^16, 2^32) between symbols. Encoding a symbol (frequency f, start c) first moves the low 16
  bits out as a word when x >= f·2^20, then sets x = (x div f)·4096 + x mod f + c; decoding undoes both in the other
  order. One word a symbol is always enough, because f >= 1 leaves at least 16 after a decoded symbol.
* The encoder runs from the last symbol to the first and fills the words from the back, so the decoder runs forwards.
* The coded symbols of a step form rows of as many symbols as there are lanes; the row's words stand in lane order. So a
  vector or a warp can decode a row at once, and finds the same words.

A product of two uint32 is a uint64 to numba, and a uint64 beside a signed integer becomes a float: every constant here
has its type. Hot loops index with unsigned integers, which spares numba the look for a negative index (twice as fast).

A *key* stands for a symbol and its table (``lookups``).

Source: Giesen, "Interleaved entropy coders" (arXiv 1402.3392), with 32-bit states and 16-bit words.
"""

from __future__ import annotations

import numpy as np
from numba import types

from ptp_runtime.coder.signatures import I16, I32, I64, U8, U16, U32, U64, inner, kernel, read, write

_u8, _u16, _u32, _u64 = types.uint8, types.uint16, types.uint32, types.uint64
_i16, _i32, _i64 = types.int16, types.int32, types.int64

_LOW = np.uint64(1 << 16)
_WORD, _PRICE = np.uint64(0xFFFF), np.uint64(0xFFFFFFFF)
_S8, _S12, _S16, _S20 = np.uint64(8), np.uint64(12), np.uint64(16), np.uint64(20)
_MIX = np.uint32(0x9E3779B1)
_MIX_SHIFT = np.uint32(15)
_TABLE32, _ONE_TABLE32 = np.uint32(0xFFFFFF00), np.uint32(1 << 16)
_S8_32, _TWO32 = np.uint32(8), np.uint32(2)


@kernel(_i64(read(_i16), read(_u32), read(_u64), read(_i32), read(_i32), read(_i32), write(_u8)))
def write_escapes(values: I16, keys: U32, prices: U64, offsets: I32, sizes: I32, orders: I32, bypass: U8) -> int:
    """Writes the escaped integers as Exp-Golomb number (of the distance to the regular ones) and sign.

    Args:
        prices: of the lookups; they say which keys are escapes.
        bypass: zeros, 5 bytes an escape; byte j is the j-th from the end of the payload. Bits are used from the low one
            upwards.

    Returns:
        How many bits are used.
    """
    bit = 0
    for position in range(np.uint64(keys.size)):
        key = np.uint64(keys[position])
        if prices[key] <= _PRICE:
            continue
        table = np.int64(key >> _S8)
        beyond = np.int64(values[position]) - np.int64(offsets[table])
        negative = beyond < 0
        distance = -beyond - 1 if negative else beyond - np.int64(sizes[table])
        order = np.int64(orders[table])
        number = (distance >> order) + 1
        bits = 0
        while number >> (bits + 1) > 0:
            bits += 1
        bit += bits
        bypass[bit >> 3] |= np.uint8(1 << (bit & 7))
        bit += 1
        for shift in range(bits):
            bypass[bit >> 3] |= np.uint8(((number >> shift) & 1) << (bit & 7))
            bit += 1
        for shift in range(order):
            bypass[bit >> 3] |= np.uint8(((distance >> shift) & 1) << (bit & 7))
            bit += 1
        bypass[bit >> 3] |= np.uint8((1 if negative else 0) << (bit & 7))
        bit += 1
    return bit


@inner
def _hashed(values: I16, keys: U32, number: int) -> int:
    """What symbols that follow ``number`` others add to the hash."""
    total, weight = np.uint32(0), np.uint32(2 * number + 1)
    for i in range(values.size):
        table = np.uint32(np.uint32((keys[i] & _TABLE32) << _S8_32) + _ONE_TABLE32)
        mixed = np.uint32(np.uint32(np.uint32(np.uint16(values[i])) | table) * _MIX)
        mixed = np.uint32(mixed ^ (mixed >> _MIX_SHIFT))
        total = np.uint32(total + np.uint32(mixed * np.uint32(weight + np.uint32(_TWO32 * np.uint32(i)))))
    return total  # type: ignore[return-value]


@kernel(types.void(read(_i16), read(_u32), read(_i64), read(_i64), _i64, write(_i64)))
def hash_steps(values: I16, keys: U32, bounds: I64, witnesses: I64, state: int, states: I64) -> None:
    """The hash of the stream after each step: Σ (2·i + 1)·mix(value, table), and the witnesses, modulo 2^32.

    The weights are odd and mix is one to one, so any change of one symbol or index changes the sum; it may be summed in
    any order, by any number of lanes.

    Args:
        bounds: where each step begins, and behind them all where the last one ends.
        state: what it is before the first symbol.
        states: filled.
    """
    total = np.uint32(state)
    for step in range(states.size):
        start, count = bounds[step], bounds[step + 1] - bounds[step]
        total = np.uint32(total + _hashed(values[start : start + count], keys[start : start + count], start))
        total = np.uint32(total + np.uint32(witnesses[step]))
        states[step] = np.int64(total)


@kernel(_i64(read(_u32), _i64, _i64, read(_u32), write(_u16)), brief=True)
def encode_tail(keys: U32, floor: int, stop: int, entries: U32, words: U16) -> int:
    """Codes as many of the last symbols as fit ``words``, with one state that begins at 0 and need not reach 2^16.

    Only a state of 2^20 or more gives words away, so a reader that refills whenever its state is below 2^16 and words
    remain finds the same words.

    Args:
        floor: the first symbol that may belong to the tail; ``stop`` is behind the last.
        words: zeros; filled from the back, the state in front of the emitted words, zeros in front of it.

    Returns:
        How many symbols the tail holds.
    """
    state = np.uint64(0)
    capacity = words.size
    emitted = 0
    position = stop
    while position > floor:
        entry = np.uint64(entries[keys[position - 1]])
        frequency = entry & _WORD
        emit = (state >> _S20) >= frequency
        rest = state >> _S16 if emit else state
        quotient = rest // frequency
        after = (quotient << _S12) + (rest - quotient * frequency) + (entry >> _S16)
        need = emitted + (1 if emit else 0)
        if after >= _LOW:
            need += 2
        elif after > np.uint64(0):
            need += 1
        if need > capacity:
            break
        if emit:
            emitted += 1
            words[capacity - emitted] = np.uint16(state & _WORD)
        state = after
        position -= 1
    if state > np.uint64(0):
        words[capacity - emitted - 1] = np.uint16(state & _WORD)
    if state >= _LOW:
        words[capacity - emitted - 2] = np.uint16(state >> _S16)
    return stop - position


@kernel(_i64(read(_u32), read(_i64), read(_u32), write(_u32), write(_u16)))
def encode_lanes(keys: U32, bounds: I64, entries: U32, states: U32, words: U16) -> int:
    """Codes all steps from the last symbol to the first.

    Args:
        bounds: where each step begins, and behind them all where the last one ends.
        states: what each lane begins with; what it ends with when the call returns.
        words: room for one word a symbol; filled from the back.

    Returns:
        Where in ``words`` the first word stands.
    """
    lanes = states.size
    first = words.size
    for step in range(bounds.size - 2, -1, -1):
        begin = bounds[step]
        position = bounds[step + 1]
        lane = (position - begin) % lanes
        if lane == 0:
            lane = lanes
        while position > begin:
            position -= 1
            lane -= 1
            entry = np.uint64(entries[keys[position]])
            state = np.uint64(states[lane])
            frequency = entry & _WORD
            if (state >> _S20) >= frequency:
                first -= 1
                words[first] = np.uint16(state & _WORD)
                state = state >> _S16
            quotient = np.uint64(np.uint32(state) // np.uint32(frequency))
            states[lane] = np.uint32((quotient << _S12) + (state - quotient * frequency) + (entry >> _S16))
            if lane == 0:
                lane = lanes
    return first
