"""What the kernels look up, made once from the tables of a bundle.

A symbol and its table make one number, its **key**: table·256 + code. The *code* of a symbol is one byte. Where every
regular integer of all scale tables lies in −127 … 127, as with Gaussians, it is the integer itself (two's complement)
and −128 stands for all escaped ones: then a vector of symbols becomes keys without a look at the tables, and back.
Else, and always for z, it is the member's position in its alphabet.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptp_runtime.coder.choices import member_prices
from ptp_runtime.tables import Tables

CODE_LEAST, CODE_MOST = -127, 127
ESCAPE_PRICE = 1 << 32
"""Added to the price of an escaped symbol, so that one sum counts both."""


@dataclass(frozen=True)
class Lookups:
    """Arrays by key.

    Attributes:
        direct: whether the codes of y are the integers themselves.
        encode_entries: uint32 [T·256], frequency (bits 0 … 15) and start (16 … 31).
        prices: uint64 [T·256], 1/256 bit, plus ESCAPE_PRICE where the code stands for escaped integers.
        decode_entries: uint32 [T·4096], as ``Tables.decode_entries`` with the code instead of the member.
    """

    direct: bool
    encode_entries: npt.NDArray[np.uint32]
    prices: npt.NDArray[np.uint64]
    decode_entries: npt.NDArray[np.uint32]


_made: dict[int, tuple[weakref.ref[Tables], Lookups]] = {}


def lookups_of(tables: Tables) -> Lookups:
    """The arrays of these tables; made at the first call, kept as long as the tables."""
    key = id(tables)
    known = _made.get(key)
    if known is not None and known[0]() is tables:
        return known[1]
    made = _make(tables)
    _made[key] = (weakref.ref(tables, lambda _: _made.pop(key, None)), made)
    return made


def _make(tables: Tables) -> Lookups:
    offsets, sizes, scales = tables.offsets.astype(np.int64), tables.sizes.astype(np.int64), tables.scale_count
    first, last = offsets[:scales], (offsets + sizes - 1)[:scales]
    direct = bool(first.min() >= CODE_LEAST and last.max() <= CODE_MOST)
    members = np.minimum(np.arange(256), sizes[:, None])
    codes = np.broadcast_to(np.arange(256), members.shape).copy()
    if direct:
        integers = np.arange(256).astype(np.int8).astype(np.int64)
        regular = (integers >= first[:, None]) & (integers <= last[:, None])
        members[:scales] = np.where(regular, integers - first[:, None], sizes[:scales, None])
        codes[:scales] = np.where(codes[:scales] == sizes[:scales, None], 128, codes[:scales] + first[:, None]) & 255
    by_member = 256 * np.arange(sizes.size)[:, None] + members
    escaped = members == sizes[:, None]
    prices = member_prices(tables)[by_member].astype(np.uint64) + escaped * np.uint64(ESCAPE_PRICE)
    slots = tables.decode_entries
    table = np.arange(slots.size) >> 12
    decode_entries = slots & ~np.uint32(255) | codes[table, slots & np.uint32(255)].astype(np.uint32)
    return Lookups(
        direct,
        np.ascontiguousarray(tables.encode_entries[by_member].reshape(-1)),
        np.ascontiguousarray(prices.reshape(-1)),
        np.ascontiguousarray(decode_entries),
    )
