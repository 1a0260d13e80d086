"""What the kernels look up, made once from the tables of a bundle.

A symbol and its table make one number, its **key**: table·256 + code. The *code* of a symbol is one byte. Where every
regular integer of all scale tables lies in −127 … 127, as with Gaussians, it is the integer itself (two's complement)
and −128 stands for all escaped ones: then a vector of symbols becomes keys without a look at the tables, and back.
Else, and always for z, it is the member's position in its alphabet.
"""

from __future__ import annotations

import weakref
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ptp_runtime.coder.choices import price_of_frequency
from ptp_runtime.tables import Tables

CODE_LEAST, CODE_MOST = -127, 127
ESCAPE_PRICE = 1 << 32
"""Added to the price of an escaped symbol, so that one sum counts both."""


class Lookups:
    """Arrays by key; each is made when it is first asked for, so that a decoder never waits for an encoder's.

    Attributes:
        direct: whether the codes of y are the integers themselves.
    """

    def __init__(self, tables: Tables) -> None:
        scales = slice(0, tables.scale_count)
        self._entries = tables.encode_entries, tables.decode_entries
        self._offsets, self._sizes = tables.offsets.astype(np.int64), tables.sizes.astype(np.int64)
        self._scales = scales
        last = (self._offsets + self._sizes - 1)[scales]
        self.direct = bool(self._offsets[scales].min() >= CODE_LEAST and last.max() <= CODE_MOST)

    @cached_property
    def encode_entries(self) -> npt.NDArray[np.uint32]:
        """uint32 [T·256]: frequency (bits 0 … 15) and start (16 … 31)."""
        return np.ascontiguousarray(self._entries[0][self._places].reshape(-1))

    @cached_property
    def prices(self) -> npt.NDArray[np.uint64]:
        """uint64 [T·256]: 1/256 bit, plus ESCAPE_PRICE where the code stands for escaped integers."""
        escaped = (self._places & 255) == self._sizes[:, None]
        prices = price_of_frequency()[self._entries[0] & np.uint32(0xFFFF)][self._places]
        summed: npt.NDArray[np.uint64] = prices + escaped * np.uint64(ESCAPE_PRICE)
        return summed.reshape(-1)

    @cached_property
    def decode_entries(self) -> npt.NDArray[np.uint32]:
        """uint32 [T·4096]: as ``Tables.decode_entries`` with the code instead of the member."""
        codes = np.broadcast_to(np.arange(256), (self._sizes.size, 256)).copy()
        if self.direct:
            mine = codes[self._scales]
            escapes = mine == self._sizes[self._scales, None]
            mine[:] = np.where(escapes, 128, mine + self._offsets[self._scales, None]) & 255
        slots = self._entries[1]
        code = codes[np.arange(slots.size) >> 12, slots & np.uint32(255)]
        entries: npt.NDArray[np.uint32] = slots & ~np.uint32(255) | code.astype(np.uint32)
        return entries

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """int64 [T, 256]: by table and code, where ``Tables.encode_entries`` has the member."""
        members = np.minimum(np.arange(256), self._sizes[:, None])
        if self.direct:
            integers, first = np.arange(256).astype(np.int8).astype(np.int64), self._offsets[self._scales, None]
            size = self._sizes[self._scales, None]
            regular = (integers >= first) & (integers < first + size)
            members[self._scales] = np.where(regular, integers - first, size)
        places: npt.NDArray[np.int64] = 256 * np.arange(self._sizes.size)[:, None] + members
        return places


_made: dict[int, tuple[weakref.ref[Tables], Lookups]] = {}


def lookups_of(tables: Tables) -> Lookups:
    """The arrays of these tables; made at the first call, kept as long as the tables."""
    key = id(tables)
    known = _made.get(key)
    if known is not None and known[0]() is tables:
        return known[1]
    made = Lookups(tables)
    _made[key] = (weakref.ref(tables, lambda _: _made.pop(key, None)), made)
    return made
