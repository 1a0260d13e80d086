"""Streams of a batch on a GPU, step by step; the host reads headers before and compares the ends afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream.header import StreamHeader, split_stream
from ptp_runtime.bitstream.prefix import PayloadPrefix, take_prefix
from ptp_runtime.coder.checks import hash_start, step_check
from ptp_runtime.coder.steps import Parity
from ptp_runtime.coder_gpu.device import NOTHING, WARP, GpuDevice, Handle
from ptp_runtime.errors import DesynchronisedError, UsageError
from ptp_runtime.tables import Tables

_SCALARS = (
    *("lanes", "region_start", "region_size", "tail_step", "tail_symbols", "tail_least"),
    *("skip", "live_start", "live_count", "pointer", "bit", "number", "hash"),
    *("steps_done", "tail_state", "tail_pointer", "written_hash", "status"),
)
DECODER = np.dtype([("states", "<u4", WARP), ("tail_words", "<u4", WARP), *((name, "<u4") for name in _SCALARS)])
"""``struct Decoder`` of rans.cu."""
_FAULTS = {
    1: "a scale index without a table",
    2: "the words end before the symbols",
    3: "an escape is none",
    4: "the tail asks for more symbols than there are",
    5: "the lanes are not back at their start",
}


class DeviceTables:
    """A bundle's tables in device memory, for all streams that are decoded with them.

    Args:
        device: where they are put.
        tables: the tables.
    """

    def __init__(self, device: GpuDevice, tables: Tables) -> None:
        self._device = device
        self.tables = tables
        self.handles = tuple(
            device.upload(array)
            for array in (tables.decode_entries, tables.offsets, tables.sizes, tables.escape_orders)
        )

    def close(self) -> None:
        """Free them."""
        for handle in self.handles:
            self._device.free(handle)


class BatchDecoder:
    """Decodes streams with equal schedules side by side, one warp each.

    Call ``z_step`` once, then ``step`` for each step of the schedule, then ``finish``: until then the symbols may come
    from other scale indices than the encoder's. What a stream's first fault stopped is 0 from there on.

    Args:
        device: where it happens.
        data: the streams; they may differ in everything but the number of steps.
        tables: of the bundle that decodes; on the device, or put there for this batch.

    Attributes:
        headers: what each stream says about itself; identity, task and size are for the caller to check.

    Raises:
        StreamError: as ``StreamDecoder``, for bytes that are no stream.
        UsageError: streams of different numbers of steps, or none at all.
    """

    def __init__(self, device: GpuDevice, data: Sequence[bytes], tables: Tables | DeviceTables) -> None:
        self._device = device
        parts = [split_stream(stream) for stream in data]
        self.headers: tuple[StreamHeader, ...] = tuple(header for header, _ in parts)
        if len({header.steps for header in self.headers}) != 1:
            raise UsageError("streams of a batch", expected="one number of steps", got="several, or no stream")
        self._steps = self.headers[0].steps + 1
        self._prefixes: list[PayloadPrefix] = []
        self._regions: list[bytes] = []
        self._decoders = np.zeros(len(data), DECODER)
        live: list[npt.NDArray[np.uint8]] = []
        for record, (header, payload) in zip(self._decoders, parts, strict=True):
            prefix, sealed, begin = take_prefix(payload, header)
            record["states"][: header.lanes] = prefix.states
            record["lanes"], record["skip"] = header.lanes, header.skip_index
            record["region_start"], record["region_size"] = sum(map(len, self._regions)), len(payload) - begin
            record["tail_step"] = header.steps - prefix.tail.back
            record["tail_symbols"], record["tail_least"] = prefix.tail.symbols, prefix.tail.least_table
            record["live_start"], record["live_count"] = sum(map(len, live)), len(prefix.zero_map)
            record["hash"] = hash_start(header, sealed)
            live.append(np.frombuffer(prefix.zero_map, np.uint8) ^ np.uint8(1))
            self._prefixes.append(prefix)
            self._regions.append(bytes(payload[begin:]))
        marks: npt.NDArray[np.uint8] = np.concatenate([*live, np.zeros(1, np.uint8)])
        self._state, self._live = device.upload(self._decoders), device.upload(marks)
        self._region = device.upload(np.frombuffer(b"".join(self._regions) + b"\0", np.uint8))
        self._owns_tables = isinstance(tables, Tables)
        self._tables = DeviceTables(device, tables) if isinstance(tables, Tables) else tables
        self._hashes = device.zeros(4 * len(data) * self._steps)
        self._witnesses = np.zeros((len(data), self._steps), np.int64)
        self._done = 0

    def z_step(self, rows: int, columns: int) -> Handle:
        """Step 0. Returns int16 [streams, Z, rows, columns] in device memory, which the caller frees."""
        if self._done:
            raise UsageError("order of steps", expected="z first and once", got="z again")
        return self._step(NOTHING, 0, (self._tables.tables.hyper_count, rows, columns), Parity.ALL)

    def step(
        self,
        indexes: Handle,
        first_channel: int,
        shape: tuple[int, int, int],
        parity: Parity = Parity.ALL,
        witnesses: Sequence[int] | None = None,
    ) -> Handle:
        """One step of y.

        Args:
            indexes: uint8 [streams, channels, rows, columns] in device memory.
            first_channel: which channel of y the first one is.
            shape: channels, rows, columns.
            parity: which positions belong to the step.
            witnesses: of each stream, as ``StreamDecoder.step``'s; they enter in ``finish``.

        Returns:
            int16 of the shape of ``indexes`` in device memory, 0 wherever nothing was coded; the caller frees it.
        """
        if self._done == 0:
            raise UsageError("order of steps", expected="z first", got="a step of y")
        if self._done == self._steps:
            raise UsageError("steps of y", expected=f"{self._steps - 1}, as the headers say", got="one more")
        if witnesses is not None:
            self._witnesses[:, self._done] = witnesses
        return self._step(indexes, first_channel, shape, parity)

    def _step(self, indexes: Handle, first_channel: int, shape: tuple[int, int, int], parity: Parity) -> Handle:
        streams = len(self.headers)
        out = self._device.zeros(2 * streams * shape[0] * shape[1] * shape[2])
        numbers = (first_channel, *shape, int(parity))
        self._device.launch(
            "ptp_decode_step",
            streams,
            *(self._state, self._region, self._live, indexes, out, self._hashes, np.uint32(self._steps)),
            *map(np.uint32, numbers),
            *self._tables.handles,
            np.uint32(self._tables.tables.scale_count),
        )
        self._done += 1
        return out

    def finish(self, witnesses: npt.NDArray[np.uint32] | None = None) -> None:
        """Compares the end of each stream with what its encoder left there.

        Args:
            witnesses: [streams, steps of y], those of the steps where :meth:`step` was given none.

        Raises:
            UsageError: fewer steps than the headers say.
            DesynchronisedError: names the first stream that does not end as it must, and the step where that is known.
        """
        if self._done != self._steps:
            raise UsageError("steps", expected=f"z and {self._steps - 1} of y", got=str(self._done))
        hashes = np.zeros((len(self.headers), self._steps), np.uint32)
        self._device.download(self._state, self._decoders)
        self._device.download(self._hashes, hashes)
        if witnesses is not None:
            self._witnesses[:, 1:] = witnesses
        sealed = (hashes + np.cumsum(self._witnesses, axis=1)) % (1 << 32)
        for number, record in enumerate(self._decoders):
            self._check(number, record, sealed[number].tolist())

    def _check(self, number: int, record: Any, hashes: list[int]) -> None:
        """One stream's end."""
        checks, done = self._prefixes[number].step_checks, int(record["steps_done"])
        for step, check in enumerate(checks[:done]):
            if check != step_check(hashes[step]):
                raise _lost(number, step, "the check of the step", f"{check:02x}", f"{step_check(hashes[step]):02x}")
        if record["status"]:
            raise _lost(number, done, _FAULTS[int(record["status"])], "the encoder's scale indices", "others")
        region, bit = self._regions[number], int(record["bit"])
        used = 2 * int(record["pointer"]) + -(-bit // 8)
        filling = region[-1 - (bit >> 3)] >> (bit & 7) if bit & 7 and used <= len(region) else 0
        if used != len(region) or filling:
            raise _lost(number, done, "the end", f"words and bypass of {len(region)} bytes", f"{used} bytes read")
        tail = int(record["tail_state"]), int(record["tail_pointer"])
        if tail != (0, int(record["lanes"]) - 2):
            raise _lost(number, done, "the end of the tail", "state 0 and no word left", f"state and position {tail}")
        if hashes[-1] != record["written_hash"]:
            raise _lost(number, done, "the hash", f"{int(record['written_hash']):08x}", f"{hashes[-1]:08x}")

    def close(self) -> None:
        """Frees what lies in device memory, apart from the symbols that were handed out."""
        for handle in (self._state, self._region, self._live, self._hashes):
            self._device.free(handle)
        if self._owns_tables:
            self._tables.close()


def _lost(stream: int, step: int, what: str, expected: str, got: str) -> DesynchronisedError:
    return DesynchronisedError(
        f"stream {stream} of the batch was lost in step {step}: {what}",
        expected=expected,
        got=got,
        step=step,
        hint="decode with the graphs and on the kind of device that encoded, or use a bundle with the integer "
        "entropy path",
    )
