"""What the format leaves to the encoder: the zero map, the number of lanes, and which symbols ride in the tail.

A reader obeys whatever stands in the stream, so these may become cleverer without a new version. They use whole numbers
alone: the same symbols give the same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream.prefix import MAX_TAIL, zero_map_from_channels
from ptp_runtime.tables import PROBABILITY_BITS, Tables

PRICE_UNIT = 256
"""Prices are in 1/256 bit."""
_PRICE_OF_FREQUENCY = np.array(
    [0] + [PRICE_UNIT * PROBABILITY_BITS - ((f**PRICE_UNIT).bit_length() - 1) for f in range(1, 1 << PROBABILITY_BITS)],
    np.uint16,
)
"""-256·log2(f / 4096), rounded up: the bit length of f^256 is the exact floor of 256·log2 f, plus 1."""

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
        tables: uint16 [n].
        members: uint8 [n], position of each value in its table's alphabet.
        counts: int64 [segments], how many symbols each has.
        steps: int64 [segments], the step it belongs to, 0 = z.
        channels: int64 [segments], its channel of y; -1 for z.
        prices: int64 [segments], what its symbols cost in 1/256 bit, without the bits of escapes.
        escapes: int64 [segments], how many of them are escaped.
        occupied: uint8 [segments], 1 where a symbol is not 0.
    """

    values: npt.NDArray[np.int16]
    tables: npt.NDArray[np.uint16]
    members: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    channels: npt.NDArray[np.int64]
    prices: npt.NDArray[np.int64]
    escapes: npt.NDArray[np.int64]
    occupied: npt.NDArray[np.uint8]

    def bounds(self, steps: int) -> npt.NDArray[np.int64]:
        """int64 [steps + 2]: where z and each y step begin, and behind them the end."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(_summed(self.steps, self.counts, steps + 1))])

    def without(self, dead: npt.NDArray[np.bool_]) -> Symbols:
        """Less the symbols of dead channels."""
        keep = ~np.append(dead, False)[self.channels]
        chosen = np.repeat(keep, self.counts)
        return replace(
            self,
            values=self.values[chosen],
            tables=self.tables[chosen],
            members=self.members[chosen],
            counts=self.counts * keep,
            prices=self.prices * keep,
        )

    def reordered(self, start: int, order: npt.NDArray[np.int64]) -> Symbols:
        """With the symbols from ``start`` on in another order (the segments lose their meaning)."""
        values, tables, members = self.values.copy(), self.tables.copy(), self.members.copy()
        for array in (values, tables, members):
            part = array[start : start + order.size]
            part[:] = part[order]
        return replace(self, values=values, tables=tables, members=members)


def member_prices(tables: Tables) -> npt.NDArray[np.uint16]:
    """uint16 [T·256]: what member k of table t costs, at 256·t + k, in 1/256 bit."""
    prices: npt.NDArray[np.uint16] = _PRICE_OF_FREQUENCY[tables.encode_entries & np.uint32(0xFFFF)]
    return prices


def choose_zero_map(symbols: Symbols) -> tuple[bytes, npt.NDArray[np.bool_]]:
    """The map of all-zero channels, in bytes, and what it marks; empty bytes when it costs more than it saves."""
    latent = symbols.channels >= 0
    of, channels = symbols.channels[latent], int(symbols.channels.max(initial=-1)) + 1
    coded = _summed(of, symbols.counts[latent], channels) > 0
    alive = _summed(of, symbols.occupied[latent] + symbols.escapes[latent], channels) > 0
    dead = coded & ~alive
    zero_map = zero_map_from_channels(dead.tolist(), coded.tolist())
    saved = int(_summed(of, symbols.prices[latent], channels)[dead].sum())
    if saved <= 8 * PRICE_UNIT * len(zero_map):
        return b"", np.zeros(channels, np.bool_)
    return zero_map, dead


def choose_lanes(symbols: Symbols) -> int:
    """8, 16 or 32, by the size to be expected."""
    size = (int(symbols.prices.sum()) // PRICE_UNIT + ESCAPE_BITS * int(symbols.escapes.sum())) // 8
    return next((lanes for below, lanes in LANES_BY_BYTES if size < below), 32)


def longest_tail(symbols: Symbols) -> int:
    """How many symbols may ride in the tail."""
    return min(MAX_TAIL, max(TAIL_LEAST, symbols.values.size // TAIL_SHARE))


def choose_tail_step(
    symbols: Symbols, bounds: npt.NDArray[np.int64], prices: npt.NDArray[np.uint16], room: int
) -> tuple[int, int]:
    """Where the tail should begin.

    Args:
        bounds: of the steps.
        prices: of the members.
        room: bits that the tail can hold.

    Returns:
        The step: the last one that, with all behind it, fills the room, unless too many symbols lie behind it. And the
        table number from which on its symbols count: the highest one that leaves enough of them.
    """
    most, missing, step = longest_tail(symbols), room * PRICE_UNIT, bounds.size - 2
    of_step = _summed(symbols.steps, symbols.prices, bounds.size - 1)
    while step > 0 and of_step[step] < missing and symbols.values.size - bounds[step] < most:
        missing -= int(of_step[step])
        step -= 1
    if step == 0:
        return 0, 0
    tables = symbols.tables[bounds[step] : bounds[step + 1]].astype(np.int64)
    members = symbols.members[bounds[step] : bounds[step + 1]]
    from_top = np.cumsum(_summed(tables, prices[tables << 8 | members].astype(np.int64), 256)[::-1])[::-1]
    enough = np.flatnonzero(from_top >= missing)
    return step, int(enough[-1]) if enough.size else 0


def _summed(keys: npt.NDArray[np.int64], amounts: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """int64 [size]: the sum of the amounts of each key."""
    return np.bincount(keys, weights=amounts, minlength=size).astype(np.int64)
