"""What the format leaves to the encoder: the zero map, the number of lanes, and which symbols ride in the tail.

A reader obeys whatever stands in the stream, so these may become cleverer without a new version. They use whole numbers
alone: the same symbols give the same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream.prefix import MAX_TAIL, zero_map_from_channels
from ptp_runtime.coder.encode_kernels import COUNT, ESCAPES, OCCUPIED, PRICE, keep_segments, sum_by_table
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
        segments: int64 [segments, 4], what ``encode_kernels`` sums of each.
        steps: int64 [segments], the step it belongs to, 0 = z.
        channels: int64 [segments], its channel of y; -1 for z.
    """

    values: npt.NDArray[np.int16]
    keys: npt.NDArray[np.uint32]
    segments: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    channels: npt.NDArray[np.int64]

    def bounds(self, steps: int) -> npt.NDArray[np.int64]:
        """int64 [steps + 2]: where z and each y step begin, and behind them the end."""
        return np.concatenate(
            [np.zeros(1, np.int64), np.cumsum(_summed(self.steps, self.segments[:, COUNT], steps + 1))]
        )

    def without(self, dead: npt.NDArray[np.bool_]) -> Symbols:
        """Less the symbols of dead channels."""
        keep = (~np.append(dead, False)[self.channels]).astype(np.int64)
        segments = self.segments * keep[:, None]
        size = int(segments[:, COUNT].sum())
        values, keys = np.empty(size, np.int16), np.empty(size, np.uint32)
        keep_segments(self.values, self.keys, self.segments[:, COUNT].copy(), keep.astype(np.uint8), values, keys)
        return replace(self, values=values, keys=keys, segments=segments)


@cache
def price_of_frequency() -> npt.NDArray[np.uint64]:
    """uint64 [4096]: -256·log2(f / 4096), rounded up; f^256 has one bit more than the whole part of 256·log2 f says."""
    total = PRICE_UNIT * PROBABILITY_BITS
    prices = [total - ((f**PRICE_UNIT).bit_length() - 1) for f in range(1, 1 << PROBABILITY_BITS)]
    return np.array([0, *prices], np.uint64)


def choose_zero_map(symbols: Symbols) -> tuple[bytes, npt.NDArray[np.bool_]]:
    """The map of all-zero channels, in bytes, and what it marks; empty bytes when it costs more than it saves."""
    channels = int(symbols.channels.max(initial=-1)) + 1
    latent = symbols.channels >= 0
    of, segments = symbols.channels[latent], symbols.segments[latent]
    coded = _summed(of, segments[:, COUNT], channels) > 0
    alive = _summed(of, segments[:, OCCUPIED] + segments[:, ESCAPES], channels) > 0
    dead = coded & ~alive
    if not dead.any():
        return b"", dead
    saved = int(_summed(of, segments[:, PRICE], channels)[dead].sum())
    turns = int(np.count_nonzero(np.diff(dead[coded])))
    least = 2 + min(turns, int(np.flatnonzero(dead)[-1]) // 8)
    if saved > 8 * PRICE_UNIT * least:  # the least bytes that either spelling can have
        zero_map = zero_map_from_channels(dead.tolist(), coded.tolist())
        if saved > 8 * PRICE_UNIT * len(zero_map):
            return zero_map, dead
    return b"", np.zeros(channels, np.bool_)


def choose_lanes(symbols: Symbols) -> int:
    """8, 16 or 32, by the size to be expected."""
    sums = symbols.segments.sum(axis=0)
    size = (int(sums[PRICE]) // PRICE_UNIT + ESCAPE_BITS * int(sums[ESCAPES])) // 8
    return next((lanes for below, lanes in LANES_BY_BYTES if size < below), 32)


def longest_tail(symbols: Symbols) -> int:
    """How many symbols may ride in the tail."""
    return min(MAX_TAIL, max(TAIL_LEAST, symbols.keys.size // TAIL_SHARE))


def choose_tail_step(
    symbols: Symbols, bounds: npt.NDArray[np.int64], prices: npt.NDArray[np.uint64], room: int
) -> tuple[int, int]:
    """Where the tail should begin.

    Args:
        bounds: of the steps.
        prices: of the lookups.
        room: bits that the tail can hold.

    Returns:
        The step: the last one that, with all behind it, fills the room, unless too many symbols lie behind it. And the
        table number from which on its symbols count: the highest one that leaves enough of them.
    """
    most, missing, step = longest_tail(symbols), room * PRICE_UNIT, bounds.size - 2
    of_step = _summed(symbols.steps, symbols.segments[:, PRICE], bounds.size - 1)
    while step > 0 and of_step[step] < missing and symbols.keys.size - bounds[step] < most:
        missing -= int(of_step[step])
        step -= 1
    if step == 0:
        return 0, 0
    totals = np.zeros(256, np.int64)
    sum_by_table(symbols.keys, bounds[step], bounds[step + 1], prices, totals)
    enough = np.flatnonzero(np.cumsum(totals[::-1])[::-1] >= missing)
    return step, int(enough[-1]) if enough.size else 0


def _summed(keys: npt.NDArray[np.int64], amounts: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """int64 [size]: the sum of the amounts of each key."""
    return np.bincount(keys, weights=amounts, minlength=size).astype(np.int64)
