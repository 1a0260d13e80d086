"""From bytes to symbols, one step at a time.

The decoder trusts neither the bytes nor the caller's scale indices. Four layers look, in this order: length and CRC
(when it is made), the read pointer (once a row of symbols), end of words, bypass, tail and lanes, and the hash over
symbols and scale indices (in ``finish``). The last two notice what no checksum over bytes can: two machines that
disagree about a scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream.header import StreamHeader, identity_prefix, split_stream
from ptp_runtime.bitstream.prefix import take_prefix
from ptp_runtime.coder import decode_kernels, decode_vector
from ptp_runtime.coder.checks import HASH_WORDS, hash_start, step_check, with_witness
from ptp_runtime.coder.kernel_choice import Kernels, use_vectors
from ptp_runtime.coder.lookups import lookups_of
from ptp_runtime.coder.signatures import ready
from ptp_runtime.coder.steps import Parity, check_shape, flat_indexes
from ptp_runtime.errors import CorruptStreamError, DesynchronisedError, StreamError, UsageError, WrongModelError
from ptp_runtime.tables import Tables

MAX_PIXELS = 4096 * 4096
"""What a decoder accepts unless it is told otherwise; a header of 22 bytes must not be able to ask for gigabytes."""

_Selection = tuple[npt.NDArray[np.uint8], int, int, int, int, int, npt.NDArray[np.uint8], int]
"""The arguments of ``select`` that say what a step is."""

_ALWAYS = (decode_kernels.move_late, decode_kernels.decode_tail, decode_kernels.place)
_SCALAR = (decode_kernels.select, decode_kernels.decode_lanes)
_VECTOR = (decode_vector.select, decode_vector.decode_lanes, decode_vector.decode_step)


class StreamDecoder:
    """Reads the stream of one image.

    Call ``z_step`` once, then ``step`` for each step of the schedule, then ``finish``: until ``finish`` has returned,
    the symbols may come from a decoder that saw other scale indices than the encoder.

    Args:
        data: the whole stream. It is not changed and must not change.
        tables: of the bundle that decodes.
        identity: what the bundle calls itself (SHA-256 in hex or bytes; the first 32 bits are compared); None = any.
        task: which task's hyper-prompts will be used; None = any.
        steps: how many steps of y the bundle's schedule has; None = as many as the header says.
        max_pixels: largest padded image to accept.
        kernels: which loops do the work; the result is the same.

    Attributes:
        header: what the stream says about itself.

    Raises:
        NotAStreamError, StreamVersionError, TruncatedStreamError, CorruptStreamError: as ``read_header``; also Corrupt
            for a payload whose own fields are impossible, and for another number of steps.
        WrongModelError: another identity or task.
        StreamError: more pixels than ``max_pixels``.
    """

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        tables: Tables,
        *,
        identity: bytes | str | None = None,
        task: int | None = None,
        steps: int | None = None,
        max_pixels: int = MAX_PIXELS,
        kernels: Kernels = Kernels.AUTO,
    ) -> None:
        self.header, payload = split_stream(data)
        _check_addressee(self.header, identity, task, max_pixels)
        if steps is not None and steps != self.header.steps:
            raise CorruptStreamError(
                "the stream has another number of steps than the schedule",
                expected=str(steps),
                got=str(self.header.steps),
            )
        self._tables = tables
        self._lookups = lookups_of(tables)
        self._vectors = use_vectors(kernels)
        self._kernels = decode_vector if self._vectors else decode_kernels
        ready(*_ALWAYS, *(_VECTOR if self._vectors else _SCALAR))
        self._prefix, sealed, begin = take_prefix(payload, self.header)
        self._region = np.frombuffer(bytes(payload[begin:]), np.uint8)
        self._words = _padded_words(self._region, self.header.lanes)
        self._states = np.array(self._prefix.states, np.uint32)
        self._live = np.frombuffer(self._prefix.zero_map, np.uint8) ^ np.uint8(1)
        self._room = _Room(0)
        self._tail_step = self.header.steps - self._prefix.tail.back
        self._tail_words = np.zeros(self.header.lanes - HASH_WORDS, np.uint16)
        self._tail = np.zeros(2, np.int64)
        self._pointer = self._bit = 0
        self._hash = hash_start(self.header, sealed)
        self._decoded = 0
        self._steps_done = 0

    def z_step(self, rows: int, columns: int) -> npt.NDArray[np.int32]:
        """Step 0: the hyper latent.

        Args:
            rows, columns: its size; the padded size over 64.

        Returns:
            int32 [Z, rows, columns].

        Raises:
            UsageError: called twice.
            DesynchronisedError: the stream ends before its symbols do.
        """
        if self._steps_done:
            raise UsageError("order of steps", expected="z first and once", got="z again")
        channels = self._tables.hyper_count
        check_shape("z", (channels, rows, columns))
        out = np.zeros((channels, rows, columns), np.int32)
        names = self._tables.scale_count + np.arange(channels)
        positions, tables = np.arange(out.size, dtype=np.int32), np.repeat(names, rows * columns).astype(np.uint16)
        late, least = out.size, self._prefix.tail.least_table
        if self._tail_step == 0 and least:
            late = decode_kernels.move_late(positions, tables, least)
        self._decode(positions, tables, late, out)
        return out

    def step(
        self,
        indexes: npt.NDArray[np.uint8],
        first_channel: int,
        parity: Parity = Parity.ALL,
        out: npt.NDArray[Any] | None = None,
        witness: int = 0,
    ) -> npt.NDArray[Any]:
        """One step of y.

        Args:
            indexes: uint8 [g, rows, columns]; those of the other parity are not looked at.
            first_channel: which channel of y ``indexes[0]`` is.
            parity: which positions belong to the step.
            out: int16 or int32, same shape, C order, to be overwritten; None = a new int32 array.
            witness: 32 bits that must be those of the encoder at this step.

        Returns:
            ``out``: decoded symbols, and 0 wherever nothing was coded.

        Raises:
            UsageError: before ``z_step``, more steps than the header says, another dtype or shape, an index without a
                table.
            DesynchronisedError: the indices cannot be those of the encoder.
        """
        if self._steps_done == 0:
            raise UsageError("order of steps", expected="z first", got="a step of y")
        if self._steps_done > self.header.steps:
            raise UsageError("steps of y", expected=f"{self.header.steps}, as the header says", got="one more")
        flat = flat_indexes(indexes, first_channel)
        target = _target(out, indexes.shape)
        if flat.size > self._room.size:
            self._room = _Room(flat.size)
        (channels, rows, columns), room = indexes.shape, self._room
        live = self._live_channels(first_channel, channels)
        step = (flat, channels, rows, columns, int(parity), self.header.skip_index, live, self._tables.scale_count)
        if self._vectors and self._lookups.direct:
            self._decode_at_once(step, room, target.reshape(-1), witness)
        else:
            count, late = self._select(step, room)
            self._decode(room.positions[:count], room.tables[:count], late, target, witness)
        return target

    def finish(self) -> None:
        """Compares the end with what the encoder left there.

        Raises:
            UsageError: fewer steps than the header says.
            DesynchronisedError: words, bypass, tail, lanes or hash do not end as they must.
        """
        if self._steps_done != self.header.steps + 1:
            raise UsageError("steps", expected=f"z and {self.header.steps} of y", got=str(self._steps_done))
        used = 2 * self._pointer + -(-self._bit // 8)
        if used != self._region.size or self._bypass_filling():
            raise self._lost("the end", f"words and bypass of {self._region.size} bytes", f"{used} bytes read")
        at = tuple(self._tail.tolist())
        if at != (0, self._tail_words.size):
            raise self._lost("the end of the tail", "state 0 and no word left", f"state and position {at}")
        low, high = (self._states[:HASH_WORDS] & np.uint32(0xFFFF)).tolist()
        if self._hash != low | high << 16:
            raise self._lost("the hash of symbols and scale indices", f"{low | high << 16:08x}", f"{self._hash:08x}")

    def _select(self, step: _Selection, room: _Room) -> tuple[int, int]:
        """Puts the coded positions of a step and their tables into the room, in stream order.

        Returns:
            How many they are, and how many of them, at their end, may belong to the tail if it begins in this step.
        """
        if self._vectors:
            count = decode_vector.select(*step, room.positions, room.tables, 256)
        else:
            count = decode_kernels.select(*step, room.positions, room.tables)
        if count < 0:
            raise self._bad_index()
        least = self._prefix.tail.least_table if self._steps_done == self._tail_step else 0
        if least == 0:
            return count, count
        return count, decode_kernels.move_late(room.positions[:count], room.tables[:count], least)

    def _decode(
        self,
        positions: npt.NDArray[np.int32],
        tables: npt.NDArray[np.uint16],
        late: int,
        out: npt.NDArray[Any],
        witness: int = 0,
    ) -> None:
        """A step of z, or of y where ``_decode_at_once`` cannot do it, by the members of alphabets."""
        count, in_tail, number = positions.size, self._prefix.tail.symbols, self._steps_done
        entries, members = self._tables.decode_entries, np.empty(count, np.uint8)
        lead = count if number < self._tail_step else 0
        if number == self._tail_step:
            if late < in_tail:
                raise self._short_tail(late)
            lead = count - in_tail
        pointer = self._kernels.decode_lanes(
            tables, lead, entries, self._states, self._words, self._pointer, self._region.size // 2, members
        )
        if pointer < 0:
            raise self._beyond_words()
        self._pointer = pointer
        if number == self._tail_step:
            off = np.count_nonzero(self._states >> np.uint32(16) != 1)
            if off:
                raise self._lanes_elsewhere(off)
            self._tail_words[:] = self._states[HASH_WORDS:] & np.uint32(0xFFFF)
        if number >= self._tail_step:
            state, at = self._tail.tolist()
            words = self._tail_words
            self._tail[:] = decode_kernels.decode_tail(tables, lead, count, entries, words, state, at, members)
        bit, self._hash = decode_kernels.place(
            members,
            tables,
            positions,
            count,
            self._tables.offsets,
            self._tables.sizes,
            self._tables.escape_orders,
            self._region,
            self._bit,
            self._decoded,
            self._hash,
            out.reshape(-1),
        )
        if bit < 0:
            raise self._no_escape()
        self._step_done(count, bit, witness)

    def _decode_at_once(self, step: _Selection, room: _Room, out: npt.NDArray[Any], witness: int) -> None:
        """A step of y in one call."""
        behind, tail = self._steps_done - self._tail_step, self._prefix.tail
        count, pointer, bit, self._hash = decode_vector.decode_step(
            *step,
            decode_vector.BEFORE if behind < 0 else decode_vector.AFTER if behind else decode_vector.BEGINS,
            tail.least_table,
            tail.symbols,
            self._tail_words,
            self._tail,
            self._lookups.decode_entries,
            self._states,
            self._words,
            self._pointer,
            self._tables.offsets,
            self._tables.sizes,
            self._tables.escape_orders,
            self._region,
            self._bit,
            self._decoded,
            self._hash,
            room.positions,
            room.tables,
            room.codes,
            out,
        )
        if count == decode_vector.BAD_INDEX:
            raise self._bad_index()
        if count == decode_vector.LOST_POINTER:
            raise self._beyond_words()
        if count == decode_vector.BAD_ESCAPE:
            raise self._no_escape()
        if count == decode_vector.SHORT_TAIL:
            raise self._short_tail(pointer)
        if count == decode_vector.LOST_LANES:
            raise self._lanes_elsewhere(pointer)
        self._pointer = pointer
        self._step_done(count, bit, witness)

    def _step_done(self, count: int, bit: int, witness: int) -> None:
        self._hash = with_witness(self._hash, witness)
        checks, number = self._prefix.step_checks, self._steps_done
        if checks and checks[number] != step_check(self._hash):
            raise self._lost("the check of the step", f"{checks[number]:02x}", f"{step_check(self._hash):02x}")
        self._bit = bit
        self._decoded += count
        self._steps_done += 1

    def _live_channels(self, first_channel: int, channels: int) -> npt.NDArray[np.uint8]:
        """uint8 [channels]: 0 where the zero map names the channel."""
        missing = first_channel + channels - self._live.size
        if missing > 0:
            self._live = np.append(self._live, np.ones(missing, np.uint8))
        return self._live[first_channel : first_channel + channels]

    def _bypass_filling(self) -> int:
        """The bits of the bypass's last byte that no escape used; the encoder left them 0."""
        used = self._bit & 7
        return int(self._region[-1 - (self._bit >> 3)]) >> used if used else 0

    def _bad_index(self) -> UsageError:
        return UsageError(
            f"scale indices of step {self._steps_done}",
            expected=f"below {self._tables.scale_count}",
            got="a larger one",
        )

    def _beyond_words(self) -> DesynchronisedError:
        return self._lost("the read pointer", f"at most {self._region.size // 2} words", "one more")

    def _short_tail(self, late: int) -> DesynchronisedError:
        return self._lost("the tail", f"at least {self._prefix.tail.symbols} symbols to choose from", str(late))

    def _lanes_elsewhere(self, off: int) -> DesynchronisedError:
        return self._lost("the lanes", "all back at their start", f"{off} of {self._states.size} elsewhere")

    def _no_escape(self) -> DesynchronisedError:
        return self._lost("an escape", "an integer of 16 bits", "none")

    def _lost(self, what: str, expected: str, got: str) -> DesynchronisedError:
        return DesynchronisedError(
            f"the decoder lost the stream {self._where()}: {what}",
            expected=expected,
            got=got,
            hint="decode with the graphs and on the kind of device that encoded, or use a bundle with the integer "
            "entropy path; a stream that was altered together with its CRC looks the same",
            step=self._steps_done if self._steps_done <= self.header.steps else None,
        )

    def _where(self) -> str:
        done = self._steps_done
        return f"in step {done}" if done <= self.header.steps else "behind its last step"


class _Room:
    """Arrays of a step, used again in the next while they are large enough."""

    def __init__(self, positions: int) -> None:
        self.size = positions
        self.positions = np.empty(positions + decode_vector.SLACK, np.int32)
        self.tables = np.empty(positions + decode_vector.SLACK, np.uint16)
        self.codes = np.empty(positions + decode_vector.SLACK, np.int8)


def _check_addressee(header: StreamHeader, identity: bytes | str | None, task: int | None, max_pixels: int) -> None:
    if identity is not None and identity_prefix(identity) != header.identity:
        raise WrongModelError(
            "the stream belongs to another model",
            expected=f"identity {identity_prefix(identity).hex()}",
            got=header.identity.hex(),
            hint="decode with the bundle that encoded it",
        )
    if task is not None and task != header.task:
        raise WrongModelError(
            "the stream was written for another task",
            expected=f"task {task}",
            got=str(header.task),
            hint="decode with that task's bundle",
        )
    rows, columns = header.padded()
    if rows * columns > max_pixels:
        raise StreamError(
            "the image is larger than this decoder accepts",
            expected=f"at most {max_pixels} pixels after padding",
            got=f"{columns}×{rows}",
            hint="raise max_pixels if the memory is there",
        )


def _padded_words(region: npt.NDArray[np.uint8], lanes: int) -> npt.NDArray[np.uint16]:
    """The region as words, and behind it as many zeros as one row can read before the pointer is looked at."""
    count = region.size // 2
    words = np.zeros(count + lanes, np.uint16)
    words[:count] = region[: 2 * count].view("<u2")
    return words


def _target(out: npt.NDArray[Any] | None, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if out is None:
        return np.zeros(shape, np.int32)
    if out.shape != shape or out.dtype not in (np.int16, np.int32) or not out.flags.c_contiguous:
        raise UsageError(
            "array for the symbols", expected=f"int16 or int32 {shape} in C order", got=f"{out.dtype} {out.shape}"
        )
    out.fill(0)
    return out
