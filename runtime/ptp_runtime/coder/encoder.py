"""From symbols to bytes.

rANS is a stack: what is coded last is decoded first. So the encoder only collects while the steps come in, and codes
everything backwards in ``finish``; that is also when it knows enough to choose the number of lanes, whether a map of
all-zero channels pays, and which symbols ride in the initial states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream.header import StreamHeader, stream_from_parts
from ptp_runtime.bitstream.prefix import Tail, put_sealed, put_states
from ptp_runtime.coder import encode_kernels as kernels
from ptp_runtime.coder.checks import HASH_WORDS, hash_start, step_check, with_witness
from ptp_runtime.coder.choices import (
    Symbols,
    choose_lanes,
    choose_tail_step,
    choose_zero_map,
    longest_tail,
    member_prices,
)
from ptp_runtime.coder.steps import Parity, check_shape, flat_indexes, tail_last
from ptp_runtime.errors import UsageError
from ptp_runtime.tables import SYMBOL_MAX, SYMBOL_MIN, Tables


@dataclass(frozen=True)
class _Step:
    """The coded symbols of one step in stream order: values, the table of each, and per channel of y (-1: z) how many
    there are and whether one is not 0; and the witness."""

    values: npt.NDArray[np.int16]
    tables: npt.NDArray[np.uint16]
    channels: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    occupied: npt.NDArray[np.uint8]
    witness: int = 0


class StreamEncoder:
    """Collects the symbols of one image and makes its stream.

    Call ``z_step`` once, then ``step`` once for each of ``header.steps`` steps in schedule order, then ``finish``.

    Args:
        tables: of the bundle whose identity the header carries.
        header: what is to stand in front; see ``StreamHeader``.
    """

    def __init__(self, tables: Tables, header: StreamHeader) -> None:
        self._tables = tables
        self._header = header
        self._steps: list[_Step] = []

    def z_step(self, symbols: npt.NDArray[Any]) -> None:
        """Step 0: the hyper latent.

        Args:
            symbols: int16 or int32 [Z, rows, columns], within 16 bits; channel c uses hyper table c.

        Raises:
            UsageError: called twice, another dtype or shape, or an integer beyond 16 bits.
        """
        if self._steps:
            raise UsageError("order of steps", expected="z first and once", got="z again")
        _check_symbols(symbols)
        if symbols.shape[0] != self._tables.hyper_count:
            raise UsageError("channels of z", expected=str(self._tables.hyper_count), got=str(symbols.shape[0]))
        if symbols.size and (int(symbols.min()) < SYMBOL_MIN or int(symbols.max()) > SYMBOL_MAX):
            raise UsageError(
                "symbols of z", expected="integers within 16 bits", got=f"{symbols.min()} … {symbols.max()}"
            )
        channels, rows, columns = symbols.shape
        tables = self._tables.scale_count + np.arange(channels, dtype=np.uint16)
        self._steps.append(
            _Step(
                np.ascontiguousarray(symbols, np.int16).reshape(-1),
                np.repeat(tables.astype(np.uint16), rows * columns),
                np.full(channels, -1, np.int64),
                np.full(channels, rows * columns, np.int64),
                np.ones(channels, np.uint8),
            )
        )

    def step(
        self,
        symbols: npt.NDArray[Any],
        indexes: npt.NDArray[np.uint8],
        first_channel: int,
        parity: Parity = Parity.ALL,
        witness: int = 0,
    ) -> None:
        """One step of y.

        Args:
            symbols: int16 or int32 [g, rows, columns], within 16 bits; 0 where ``indexes < header.skip_index``.
                Positions of the other parity are not looked at.
            indexes: uint8, same shape: the scale index of each symbol.
            first_channel: which channel of y ``symbols[0]`` is.
            parity: which positions belong to the step.
            witness: 32 bits that the decoder must also have at this step; what they stand for is the caller's affair.

        Raises:
            UsageError: before ``z_step``, more steps than the header says, other dtypes or shapes, an index without a
                table, an integer beyond 16 bits, or a symbol that is skipped and not 0.
        """
        if not self._steps:
            raise UsageError("order of steps", expected="z first", got="a step of y")
        if len(self._steps) > self._header.steps:
            raise UsageError("steps of y", expected=f"{self._header.steps}, as the header says", got="one more")
        _check_symbols(symbols)
        if symbols.shape != indexes.shape:
            raise UsageError("scale indices", expected=f"the symbols' shape {symbols.shape}", got=str(indexes.shape))
        flat = flat_indexes(indexes, first_channel)
        channels, rows, columns = indexes.shape
        values, tables = np.empty(flat.size, np.int16), np.empty(flat.size, np.uint16)
        counts, occupied = np.zeros(channels, np.int64), np.zeros(channels, np.uint8)
        count = kernels.gather(
            np.ascontiguousarray(symbols).reshape(-1),
            flat,
            channels,
            rows,
            columns,
            int(parity),
            self._header.skip_index,
            self._tables.scale_count,
            values,
            tables,
            counts,
            occupied,
        )
        if count < 0:
            raise _refused(count, len(self._steps), self._tables.scale_count, self._header.skip_index)
        names = first_channel + np.arange(channels)
        self._steps.append(_Step(values[:count].copy(), tables[:count].copy(), names, counts, occupied, witness))

    def finish(self) -> bytes:
        """Codes everything and returns the stream.

        Raises:
            UsageError: fewer steps than the header says.
        """
        if len(self._steps) != self._header.steps + 1:
            got = f"z and {len(self._steps) - 1}" if self._steps else "nothing"
            raise UsageError("steps", expected=f"z and {self._header.steps} of y", got=got)
        prices = member_prices(self._tables)
        symbols = self._symbols(prices)
        zero_map, dead = choose_zero_map(symbols)
        if zero_map:
            symbols = symbols.without(dead)
        lanes = self._header.lanes or choose_lanes(symbols)
        header = replace(self._header, lanes=lanes, zero_map=bool(zero_map))
        symbols, begin, tail, low = self._tail(symbols, prices, lanes)
        return self._encode(header, symbols, begin, put_sealed(zero_map, tail), low)

    def _symbols(self, prices: npt.NDArray[np.uint16]) -> Symbols:
        """All steps behind one another."""
        tables, steps = self._tables, self._steps
        values = np.concatenate([step.values for step in steps])
        rows = np.concatenate([step.tables for step in steps])
        counts = np.concatenate([step.counts for step in steps])
        members = np.empty(values.size, np.uint8)
        totals, escapes = np.zeros(counts.size, np.int64), np.zeros(counts.size, np.int64)
        kernels.members_from_values(
            values, rows, counts, tables.offsets, tables.sizes, prices, members, totals, escapes
        )
        return Symbols(
            values=values,
            tables=rows,
            members=members,
            counts=counts,
            steps=np.repeat(np.arange(len(steps)), [step.counts.size for step in steps]),
            channels=np.concatenate([step.channels for step in steps]),
            prices=totals,
            escapes=escapes,
            occupied=np.concatenate([step.occupied for step in steps]),
        )

    def _tail(
        self, symbols: Symbols, prices: npt.NDArray[np.uint16], lanes: int
    ) -> tuple[Symbols, int, Tail, npt.NDArray[np.uint16]]:
        """Chooses and codes the tail.

        Returns:
            The symbols in their final order, where the tail begins, what the stream says about it, and uint16 [lanes]:
            the low halves of the initial states, still without the hash.
        """
        steps, end = self._header.steps, symbols.values.size
        bounds = symbols.bounds(steps)
        step, least_table = choose_tail_step(symbols, bounds, prices, 16 * (lanes - HASH_WORDS))
        start, stop = int(bounds[step]), int(bounds[step + 1])
        late = symbols.tables[start:stop] >= least_table
        sorted_symbols = symbols.reordered(start, tail_last(late)) if least_table else symbols
        floor = max(stop - int(late.sum()), end - longest_tail(symbols))
        low = np.zeros(lanes, np.uint16)
        count = kernels.encode_tail(
            sorted_symbols.members,
            sorted_symbols.tables,
            floor,
            end,
            self._tables.encode_entries,
            low[HASH_WORDS:],
        )
        begin = end - count
        if count == 0:
            return symbols, end, Tail(0, 0, 0), low
        if begin < stop:
            return sorted_symbols, begin, Tail(stop - begin, least_table, steps - step), low
        step = int(np.searchsorted(bounds[1:], begin, side="right"))
        return symbols, begin, Tail(int(bounds[step + 1]) - begin, 0, steps - step), low

    def _encode(
        self, header: StreamHeader, symbols: Symbols, begin: int, sealed: bytes, low: npt.NDArray[np.uint16]
    ) -> bytes:
        """Codes the symbols before ``begin`` into lanes and words, and puts the payload together."""
        tables, bounds = self._tables, symbols.bounds(header.steps)
        values, rows, members = symbols.values, symbols.tables, symbols.members
        state, checks = hash_start(header, sealed), bytearray()
        for (start, stop), step in zip(pairwise(bounds.tolist()), self._steps, strict=True):
            state = with_witness(kernels.hash_symbols(values, rows, start, stop, state), step.witness)
            checks.append(step_check(state))
        low[:HASH_WORDS] = state & 0xFFFF, state >> 16

        states, words = low.astype(np.uint32) | np.uint32(1 << 16), np.empty(begin, np.uint16)
        first = kernels.encode_lanes(members, rows, np.minimum(bounds, begin), tables.encode_entries, states, words)
        bypass = np.zeros(5 * int(symbols.escapes.sum()), np.uint8)
        bits = kernels.write_escapes(values, rows, members, tables.offsets, tables.sizes, tables.escape_orders, bypass)
        payload = (
            sealed,
            bytes(checks) if header.step_checks else b"",
            put_states(states.tolist()),
            words[first:].astype("<u2").tobytes(),
            bypass[: -(-bits // 8)][::-1].tobytes(),
        )
        return stream_from_parts(header, b"".join(payload))


def _check_symbols(symbols: npt.NDArray[Any]) -> None:
    if symbols.dtype not in (np.int16, np.int32):
        raise UsageError("symbols", expected="int16 or int32", got=str(symbols.dtype))
    check_shape("symbols", symbols.shape)


def _refused(code: int, number: int, scale_count: int, skip_index: int) -> UsageError:
    if code == kernels.BAD_INDEX:
        return UsageError(f"scale indices of step {number}", expected=f"below {scale_count}", got="a larger one")
    if code == kernels.BAD_VALUE:
        return UsageError(
            f"symbols of step {number}", expected=f"{SYMBOL_MIN} … {SYMBOL_MAX}", got="one beyond", hint="clamp them"
        )
    return UsageError(
        f"symbols of step {number}",
        expected=f"0 wherever the scale index is below {skip_index}",
        got="another value, which no decoder would see",
        hint="zero skipped symbols before anything reads them",
    )
