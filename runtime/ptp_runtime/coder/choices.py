"""What the format leaves to the encoder: the zero map, the number of lanes, and which symbols ride in the tail.

A reader obeys whatever stands in the stream, so these may become cleverer without a new version. They use whole numbers
alone: the same symbols give the same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream.prefix import MAX_TAIL, zero_map_from_channels
from ptp_runtime.coder import gather_kernels as kernels
from ptp_runtime.tables import PROBABILITY_BITS

PRICE_UNIT = 256
"""Prices are in 1/256 bit."""

LANES_BY_BYTES = ((3000, 8), (8000, 16))
"""Below so many bytes so many lanes, else 32: each lane costs half a byte, and few symbols need no speed."""
ESCAPE_BITS = 8
"""About what an escape takes besides its member."""
TAIL_SHARE = 128
"""At most one symbol in so many rides in the tail, which a reader decodes one by one …"""
TAIL_LEAST = 64
"""… but so many always may."""


@dataclass(frozen=True)
class Symbols:
    """The coded symbols of all steps in stream order.

    A *segment* is what one channel has in one step.

    Attributes:
        values: int16 [n].
        keys: uint32 [n], each symbol with its table (``lookups``).
        segments: int64 [segments, 4], what ``gather_kernels`` sums of each.
        firsts: int64 [steps + 1], the channel of y that a step's first segment is; -1 for z, which is step 0.
        sizes: int64 [steps + 1], how many segments a step has.
    """

    values: npt.NDArray[np.int16]
    keys: npt.NDArray[np.uint32]
    segments: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @cached_property
    def _sums(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        channels = int((self.firsts + self.sizes).max(initial=0))
        sums = np.zeros((self.sizes.size, 4), np.int64), np.zeros((channels, 4), np.int64)
        kernels.sum_segments(self.segments, self.firsts, self.sizes, *sums)
        return sums

    @property
    def by_step(self) -> npt.NDArray[np.int64]:
        """int64 [steps + 1, 4]: the segments of each step summed up."""
        return self._sums[0]

    @property
    def by_channel(self) -> npt.NDArray[np.int64]:
        """int64 [channels, 4]: the segments of each channel of y summed up."""
        return self._sums[1]

    @cached_property
    def bounds(self) -> npt.NDArray[np.int64]:
        """int64 [steps + 2]: where z and each y step begin, and behind them the end."""
        bounds = np.zeros(self.sizes.size + 1, np.int64)
        np.cumsum(self.by_step[:, kernels.COUNT], out=bounds[1:])
        return bounds

    def without(self, dead: npt.NDArray[np.bool_]) -> Symbols:
        """Less the symbols of dead channels."""
        size = self.keys.size - int(self.by_channel[dead, kernels.COUNT].sum())
        values, keys, segments = np.empty(size, np.int16), np.empty(size, np.uint32), np.empty_like(self.segments)
        marks = dead.view(np.uint8)
        kernels.keep_live(self.values, self.keys, self.segments, self.firsts, self.sizes, marks, values, keys, segments)
        return Symbols(values, keys, segments, self.firsts, self.sizes)


@cache
def price_of_frequency() -> npt.NDArray[np.uint64]:
    """uint64 [4096]: -256·log2(f / 4096), rounded up; f^256 has one bit more than the whole part of 256·log2 f says."""
    total = PRICE_UNIT * PROBABILITY_BITS
    prices = [total - ((f**PRICE_UNIT).bit_length() - 1) for f in range(1, 1 << PROBABILITY_BITS)]
    return np.array([0, *prices], np.uint64)


def choose_zero_map(symbols: Symbols) -> tuple[bytes, npt.NDArray[np.bool_]]:
    """The map of all-zero channels, in bytes, and what it marks; empty bytes when it costs more than it saves."""
    count, price, escapes, occupied = symbols.by_channel.T
    coded = count > 0
    dead = coded & (occupied + escapes == 0)
    if not dead.any():
        return b"", dead
    saved = int(price[dead].sum())
    turns = int(np.count_nonzero(np.diff(dead[coded])))
    least = 2 + min(turns, int(np.flatnonzero(dead)[-1]) // 8)
    if saved > 8 * PRICE_UNIT * least:  # the least bytes that either spelling can have
        zero_map = zero_map_from_channels(dead.tolist(), coded.tolist())
        if saved > 8 * PRICE_UNIT * len(zero_map):
            return zero_map, dead
    return b"", np.zeros(dead.size, np.bool_)


def choose_lanes(symbols: Symbols) -> int:
    """8, 16 or 32, by the size to be expected."""
    _, price, escapes, _ = symbols.by_step.sum(axis=0).tolist()
    size = (price // PRICE_UNIT + ESCAPE_BITS * escapes) // 8
    return next((lanes for below, lanes in LANES_BY_BYTES if size < below), 32)


def longest_tail(symbols: Symbols) -> int:
    """How many symbols may ride in the tail."""
    return min(MAX_TAIL, max(TAIL_LEAST, symbols.keys.size // TAIL_SHARE))


def choose_tail_step(symbols: Symbols, prices: npt.NDArray[np.uint64], room: int) -> tuple[int, int]:
    """Where the tail should begin.

    Args:
        prices: of the lookups.
        room: bits that the tail can hold.

    Returns:
        The step: the last one that, with all behind it, fills the room, unless too many symbols lie behind it. And the
        table number from which on its symbols count: the highest one that leaves enough of them.
    """
    bounds, of_step = symbols.bounds.tolist(), symbols.by_step[:, kernels.PRICE].tolist()
    most, missing, step = longest_tail(symbols), room * PRICE_UNIT, len(of_step) - 1
    while step > 0 and of_step[step] < missing and symbols.keys.size - bounds[step] < most:
        missing -= of_step[step]
        step -= 1
    if step == 0:
        return 0, 0
    totals = np.zeros(256, np.int64)
    kernels.sum_by_table(symbols.keys, bounds[step], bounds[step + 1], prices, totals)
    enough = np.flatnonzero(np.cumsum(totals[::-1])[::-1] >= missing)
    return step, int(enough[-1]) if enough.size else 0
