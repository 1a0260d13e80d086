"""From symbols to bytes.

rANS is a stack: what is coded last is decoded first. So the encoder only collects while the steps come in, and codes
everything backwards in ``finish``; that is also when it knows enough to choose the number of lanes, whether a map of
all-zero channels pays, and which symbols ride in the initial states.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream.header import StreamHeader, stream_from_parts
from ptp_runtime.bitstream.prefix import Tail, put_sealed, put_states
from ptp_runtime.coder import encode_kernels, encode_vector, gather_kernels
from ptp_runtime.coder.checks import HASH_WORDS, hash_start, step_check
from ptp_runtime.coder.choices import Symbols, choose_lanes, choose_tail_step, choose_zero_map, longest_tail
from ptp_runtime.coder.kernel_choice import Kernels, use_vectors
from ptp_runtime.coder.lookups import lookups_of
from ptp_runtime.coder.signatures import ready
from ptp_runtime.coder.steps import Parity, check_shape, flat_indexes
from ptp_runtime.errors import UsageError
from ptp_runtime.tables import SYMBOL_MAX, SYMBOL_MIN, Tables

_ALWAYS = (
    gather_kernels.gather_hyper,
    gather_kernels.sum_segments,
    gather_kernels.keep_live,
    gather_kernels.move_late,
    gather_kernels.sum_by_table,
    encode_kernels.write_escapes,
    encode_kernels.hash_steps,
    encode_kernels.encode_tail,
)
"""Kernels of which there is one kind."""


class StreamEncoder:
    """Collects the symbols of one image and makes its stream.

    Call ``z_step`` once, then ``step`` once for each of ``header.steps`` steps in schedule order, then ``finish``.

    Args:
        tables: of the bundle whose identity the header carries.
        header: what is to stand in front; see ``StreamHeader``.
        kernels: which loops do the work; the bytes are the same.
    """

    def __init__(self, tables: Tables, header: StreamHeader, kernels: Kernels = Kernels.AUTO) -> None:
        self._tables = tables
        self._lookups = lookups_of(tables)
        self._vectors = use_vectors(kernels)
        self._gathers_codes = self._vectors and self._lookups.direct
        ready(
            *_ALWAYS,
            encode_vector.gather_codes if self._gathers_codes else gather_kernels.gather,
            (encode_vector if self._vectors else encode_kernels).encode_lanes,
        )
        self._header = header
        self._values, self._keys = np.empty(0, np.int16), np.empty(0, np.uint32)
        self._used = 0
        self._segments: list[npt.NDArray[np.int64]] = []
        self._firsts: list[int] = []
        self._witnesses: list[int] = []

    def z_step(self, symbols: npt.NDArray[Any]) -> None:
        """Step 0: the hyper latent.

        Args:
            symbols: int16 or int32 [Z, rows, columns], within 16 bits; channel c uses hyper table c.

        Raises:
            UsageError: called twice, another dtype or shape, or an integer beyond 16 bits.
        """
        if self._witnesses:
            raise UsageError("order of steps", expected="z first and once", got="z again")
        _check_symbols(symbols)
        if symbols.shape[0] != self._tables.hyper_count:
            raise UsageError("channels of z", expected=str(self._tables.hyper_count), got=str(symbols.shape[0]))
        channels, rows, columns = symbols.shape
        segments = np.zeros((channels, 4), np.int64)
        values, keys = self._room(symbols.size)
        count = gather_kernels.gather_hyper(
            np.ascontiguousarray(symbols).reshape(-1),
            channels,
            rows * columns,
            self._tables.scale_count,
            self._tables.offsets,
            self._tables.sizes,
            self._lookups.prices,
            values,
            keys,
            segments,
        )
        if count < 0:
            raise UsageError(
                "symbols of z", expected="integers within 16 bits", got=f"{symbols.min()} … {symbols.max()}"
            )
        self._add(count, segments, -1, 0)

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
        if not self._witnesses:
            raise UsageError("order of steps", expected="z first", got="a step of y")
        if len(self._witnesses) > self._header.steps:
            raise UsageError("steps of y", expected=f"{self._header.steps}, as the header says", got="one more")
        _check_symbols(symbols)
        if symbols.shape != indexes.shape:
            raise UsageError("scale indices", expected=f"the symbols' shape {symbols.shape}", got=str(indexes.shape))
        flat = flat_indexes(indexes, first_channel)
        channels, rows, columns = indexes.shape
        segments = np.zeros((channels, 4), np.int64)
        step = (
            np.ascontiguousarray(symbols).reshape(-1),
            flat,
            channels,
            rows,
            columns,
            int(parity),
            self._header.skip_index,
            self._tables.scale_count,
            self._tables.offsets,
            self._tables.sizes,
        )
        rest = (self._lookups.prices, *self._room(flat.size), segments)
        if self._gathers_codes:
            count = encode_vector.gather_codes(*step, *rest)
        else:
            count = gather_kernels.gather(*step, self._lookups.direct, *rest)
        if count < 0:
            raise _refused(count, len(self._witnesses), self._tables.scale_count, self._header.skip_index)
        self._add(count, segments, first_channel, witness)

    def finish(self) -> bytes:
        """Codes everything and returns the stream.

        Raises:
            UsageError: fewer steps than the header says.
        """
        if len(self._witnesses) != self._header.steps + 1:
            got = f"z and {len(self._witnesses) - 1}" if self._witnesses else "nothing"
            raise UsageError("steps", expected=f"z and {self._header.steps} of y", got=got)
        symbols = Symbols(
            values=self._values[: self._used],
            keys=self._keys[: self._used],
            segments=np.concatenate(self._segments),
            firsts=np.array(self._firsts, np.int64),
            sizes=np.array([len(step) for step in self._segments], np.int64),
        )
        zero_map, dead = choose_zero_map(symbols)
        if zero_map:
            symbols = symbols.without(dead)
        lanes = self._header.lanes or choose_lanes(symbols)
        header = replace(self._header, lanes=lanes, zero_map=bool(zero_map))
        begin, tail, low = self._tail(symbols, lanes)
        return self._encode(header, symbols, begin, put_sealed(zero_map, tail), low)

    def _room(self, positions: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint32]]:
        """Where the values and keys of a step of so many positions go: behind those of the steps before."""
        need = self._used + positions + encode_vector.SLACK
        if need > self._keys.size:
            size = max(need, 2 * self._keys.size)
            values, keys = np.empty(size, np.int16), np.empty(size, np.uint32)
            values[: self._used], keys[: self._used] = self._values[: self._used], self._keys[: self._used]
            self._values, self._keys = values, keys
        return self._values[self._used :], self._keys[self._used :]

    def _add(self, count: int, segments: npt.NDArray[np.int64], first_channel: int, witness: int) -> None:
        self._used += count
        self._segments.append(segments)
        self._firsts.append(first_channel)
        self._witnesses.append(witness)

    def _tail(self, symbols: Symbols, lanes: int) -> tuple[int, Tail, npt.NDArray[np.uint16]]:
        """Chooses and codes the tail, and brings the symbols into their final order (a second time changes nothing).

        Returns:
            Where the tail begins, what the stream says about it, and uint16 [lanes]: the low halves of the initial
            states, still without the hash.
        """
        steps, end = self._header.steps, symbols.keys.size
        bounds = symbols.bounds
        step, least_table = choose_tail_step(symbols, self._lookups.prices, 16 * (lanes - HASH_WORDS))
        start, stop = int(bounds[step]), int(bounds[step + 1])
        undo = least_table and stop < end  # else the tail, which is never empty, reaches into the step
        slices = [(array, array[start:stop].copy()) for array in (symbols.values, symbols.keys) if undo]
        late = stop - start
        if least_table:
            late = gather_kernels.move_late(symbols.keys, symbols.values, start, stop, least_table)
        floor = max(stop - late, end - longest_tail(symbols))
        low = np.zeros(lanes, np.uint16)
        count = encode_kernels.encode_tail(symbols.keys, floor, end, self._lookups.encode_entries, low[HASH_WORDS:])
        begin = end - count
        if count and begin < stop:
            return begin, Tail(stop - begin, least_table, steps - step), low
        for array, before in slices:
            array[start:stop] = before
        if count == 0:
            return end, Tail(0, 0, 0), low
        step = int(np.searchsorted(bounds[1:], begin, side="right"))
        return begin, Tail(int(bounds[step + 1]) - begin, 0, steps - step), low

    def _encode(
        self, header: StreamHeader, symbols: Symbols, begin: int, sealed: bytes, low: npt.NDArray[np.uint16]
    ) -> bytes:
        """Codes the symbols before ``begin`` into lanes and words, and puts the payload together."""
        bounds, values, keys = symbols.bounds, symbols.values, symbols.keys
        hashes, witnesses = np.empty(header.steps + 1, np.int64), np.array(self._witnesses, np.int64)
        encode_kernels.hash_steps(values, keys, bounds, witnesses, hash_start(header, sealed), hashes)
        low[:HASH_WORDS] = hashes[-1] & 0xFFFF, hashes[-1] >> 16

        states = low.astype(np.uint32) | np.uint32(1 << 16)
        words = np.empty(begin + encode_vector.SLACK, np.uint16)
        lane_kernels = encode_vector if self._vectors else encode_kernels
        first = lane_kernels.encode_lanes(keys, np.minimum(bounds, begin), self._lookups.encode_entries, states, words)
        payload = (
            sealed,
            bytes(map(step_check, hashes.tolist())) if header.step_checks else b"",
            put_states(states.tolist()),
            words[first:].astype("<u2").tobytes(),
            self._bypass(symbols),
        )
        return stream_from_parts(header, b"".join(payload))

    def _bypass(self, symbols: Symbols) -> bytes:
        """The escaped integers, as they stand at the end of the payload."""
        escapes = int(symbols.by_step[:, gather_kernels.ESCAPES].sum())
        if escapes == 0:
            return b""
        tables, bypass = self._tables, np.zeros(5 * escapes, np.uint8)
        bits = encode_kernels.write_escapes(
            symbols.values,
            symbols.keys,
            self._lookups.prices,
            tables.offsets,
            tables.sizes,
            tables.escape_orders,
            bypass,
        )
        return bypass[: -(-bits // 8)][::-1].tobytes()


def _check_symbols(symbols: npt.NDArray[Any]) -> None:
    if symbols.dtype not in (np.int16, np.int32):
        raise UsageError("symbols", expected="int16 or int32", got=str(symbols.dtype))
    check_shape("symbols", symbols.shape)


def _refused(code: int, number: int, scale_count: int, skip_index: int) -> UsageError:
    if code == gather_kernels.BAD_INDEX:
        return UsageError(f"scale indices of step {number}", expected=f"below {scale_count}", got="a larger one")
    if code == gather_kernels.BAD_VALUE:
        return UsageError(
            f"symbols of step {number}", expected=f"{SYMBOL_MIN} … {SYMBOL_MAX}", got="one beyond", hint="clamp them"
        )
    return UsageError(
        f"symbols of step {number}",
        expected=f"0 wherever the scale index is below {skip_index}",
        got="another value, which no decoder would see",
        hint="zero skipped symbols before anything reads them",
    )
