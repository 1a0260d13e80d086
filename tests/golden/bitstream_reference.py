"""A second implementation of docs/bitstream-format.md: plain Python, one symbol at a time, no arrays, no shared code.

Written from the page, section by section. It is slow, checks nothing, and exists to be compared with.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple


class Table(NamedTuple):
    """Section 3: offset, frequencies with the escape's last, order of the escape."""

    offset: int
    frequencies: tuple[int, ...]
    order: int = 0

    def member(self, value: int) -> int:
        inside = 0 <= value - self.offset < len(self.frequencies) - 1
        return value - self.offset if inside else len(self.frequencies) - 1

    def start(self, member: int) -> int:
        return sum(self.frequencies[:member])


class Box(NamedTuple):
    """One step of y: scale indices [channel][row][column], its first channel, 'all', 'even' or 'odd'."""

    indexes: list[list[list[int]]]
    first_channel: int
    parity: str


class Choices(NamedTuple):
    """What the format leaves to the encoder."""

    lanes: int
    dead: frozenset[int]
    zero_map: bytes
    tail: tuple[int, int, int]


Symbol = tuple[int, int]
"""A value and the number of its table."""


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)


def coded_positions(box: Box, skip: int, dead: frozenset[int]) -> list[tuple[int, int, int]]:
    """Section 3, "Coded symbols"."""
    found = []
    for c, plane in enumerate(box.indexes):
        for r, row in enumerate(plane):
            for k, index in enumerate(row):
                inside = {"all": True, "even": (r + k) % 2 == 0, "odd": (r + k) % 2 == 1}[box.parity]
                if inside and index >= skip and box.first_channel + c not in dead:
                    found.append((c, r, k))
    return found


def mix(value: int, table: int) -> int:
    v = (value % 65536 + 65536 * (table + 1)) * 0x9E3779B1 % 2**32
    return v ^ (v // 2**15)


def escape_bits(table: Table, value: int) -> list[int]:
    """Section 6."""
    above = value - (table.offset + len(table.frequencies) - 1)
    distance = above if above >= 0 else table.offset - 1 - value
    m = distance // 2**table.order + 1
    p = m.bit_length() - 1
    bits = [0] * p + [1]
    bits += [m >> i & 1 for i in range(p)]
    bits += [distance >> i & 1 for i in range(table.order)]
    return [*bits, 0 if above >= 0 else 1]


def push(x: int, table: Table, member: int, words: list[int]) -> int:
    """Section 4, the encoder's step; words come out last first."""
    frequency = table.frequencies[member]
    if x >= frequency * 2**20:
        words.append(x % 65536)
        x //= 65536
    return x // frequency * 4096 + x % frequency + table.start(member)


def encode(
    start: bytes,
    tables: list[Table],
    steps: list[list[Symbol]],
    choices: Choices,
    checks: bool,
    witnesses: list[int] | None = None,
) -> bytes:
    """A whole stream.

    Args:
        start: the header up to the payload length.
        steps: coded symbols of z and each step of y, in C order, without those of dead channels.
        witnesses: of each step of y, where the means are sealed.
    """
    symbols, least, back = choices.tail
    begin_step = len(steps) - 1 - back
    ordered = [list(step) for step in steps]
    if symbols:
        step = steps[begin_step]
        ordered[begin_step] = [s for s in step if s[1] < least] + [s for s in step if s[1] >= least]
    main = [list(step) for step in ordered]
    tail: list[Symbol] = []
    if symbols:
        main[begin_step], tail = ordered[begin_step][:-symbols], ordered[begin_step][-symbols:]
        for number in range(begin_step + 1, len(steps)):
            main[number] = []
            tail += ordered[number]

    sealed = choices.zero_map + varint(symbols + least * 2**10 + back * 2**18)
    total, i, check_bytes = zlib.crc32(start + sealed), 0, b""
    bits: list[int] = []
    for number, step in enumerate(ordered):
        for value, table in step:
            total = (total + (2 * i + 1) * mix(value, table)) % 2**32
            i += 1
            if tables[table].member(value) == len(tables[table].frequencies) - 1:
                bits += escape_bits(tables[table], value)
        if witnesses and number:
            total = (total + witnesses[number - 1]) % 2**32
        check_bytes += bytes([total * 0x9E3779B1 % 2**32 // 2**24])

    x, out = 0, []
    for value, table in reversed(tail):
        x = push(x, tables[table], tables[table].member(value), out)
    low = [x // 65536, x % 65536, *reversed(out)]
    while len(low) > choices.lanes - 2 and low[0] == 0:
        low = low[1:]
    low = [total % 65536, total // 65536] + [0] * (choices.lanes - 2 - len(low)) + low

    states, words = [65536 + half for half in low], []
    for step in reversed(main):
        for j in reversed(range(len(step))):
            value, number = step[j]
            lane = j % choices.lanes
            states[lane] = push(states[lane], tables[number], tables[number].member(value), words)

    packed: list[int] = []
    for state in states:
        t = state.bit_length() - 1
        packed += [(t - 16) >> b & 1 for b in range(4)] + [state >> b & 1 for b in range(t)]
    payload = sealed + (check_bytes if checks else b"") + bytes_from_bits(packed)
    payload += b"".join(struct.pack("<H", word) for word in reversed(words)) + bytes_from_bits(bits)[::-1]
    head = start + varint(len(payload))
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload


def bytes_from_bits(bits: list[int]) -> bytes:
    filled = bits + [0] * (-len(bits) % 8)
    return bytes(sum(bit << b for b, bit in enumerate(filled[at : at + 8])) for at in range(0, len(filled), 8))


class Reader:
    """A whole stream, decoded at once."""

    def __init__(self, data: bytes, tables: list[Table], z_symbols: list[Symbol], boxes: list[Box]) -> None:
        """``z_symbols``: table of each symbol of z (their values are not looked at)."""
        self.data, self.tables = data, tables
        flags, profile, self.skip, self.y_steps = data[3:7]
        at = 16 + (4 if flags & 8 else 0) + (2 if flags & 16 else 0) + (4 if flags & 32 else 0)
        self.start = data[:at]
        _, at = self._varint(at)
        payload_at = at = at + 4
        zero_map = b""
        dead: set[int] = set()
        if flags & 4:
            dead, at = self._zero_map(at)
            zero_map = data[payload_at:at]
        field, at = self._varint(at)
        tail = (field % 1024, field // 1024 % 256, field // 2**18)
        self.choices = Choices(2 ** (profile // 16), frozenset(dead), zero_map, tail)
        at += (self.y_steps + 1) * bool(flags & 2)
        self._states(at)
        self.bit = 0
        self.steps: list[list[Symbol]] = []
        self.positions = [coded_positions(box, self.skip, self.choices.dead) for box in boxes]
        rows = [[table for _, table in z_symbols]]
        rows += [[b.indexes[c][r][k] for c, r, k in p] for b, p in zip(boxes, self.positions, strict=True)]
        self._decode(rows)

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value += self.data[at] % 128 << shift
            shift, at = shift + 7, at + 1
            if self.data[at - 1] < 128:
                return value, at

    def _zero_map(self, at: int) -> tuple[set[int], int]:
        head, at = self._varint(at)
        if head % 2 == 0:
            bits = int.from_bytes(self.data[at : at + head // 2], "little")
            return {c for c in range(bits.bit_length()) if bits >> c & 1}, at + head // 2
        dead: set[int] = set()
        channel = 0
        for number in range(head // 2):
            run, at = self._varint(at)
            dead |= set(range(channel, channel + run)) if number % 2 else set()
            channel += run
        return dead, at

    def _states(self, at: int) -> None:
        bits = [byte >> b & 1 for byte in self.data[at:] for b in range(8)]
        self.states, used = [], 0
        for _ in range(self.choices.lanes):
            t = 16 + sum(bits[used + b] << b for b in range(4))
            self.states.append(2**t + sum(bits[used + 4 + b] << b for b in range(t)))
            used += 4 + t
        self.word_at = self.words_begin = at + -(-used // 8)

    def _pop(self, x: int, table: Table) -> tuple[int, int]:
        slot, member = x % 4096, 0
        while slot >= table.start(member + 1):
            member += 1
        return table.frequencies[member] * (x // 4096) + slot - table.start(member), member

    def _bits(self, count: int) -> int:
        value = 0
        for b in range(count):
            value += (self.data[-1 - self.bit // 8] >> self.bit % 8 & 1) << b
            self.bit += 1
        return value

    def _value(self, table: Table, member: int) -> int:
        if member < len(table.frequencies) - 1:
            return table.offset + member
        p = 0
        while self._bits(1) == 0:
            p += 1
        m = 2**p + self._bits(p)
        distance = (m - 1) * 2**table.order + self._bits(table.order)
        below = self._bits(1)
        return table.offset - 1 - distance if below else table.offset + member + distance

    def _decode(self, rows: list[list[int]]) -> None:
        symbols, least, back = self.choices.tail
        begin_step = self.y_steps - back
        x, tail_words = 0, [0]
        for number, numbers in enumerate(rows):
            order = list(range(len(numbers)))
            if number == begin_step:
                order = [j for j in order if numbers[j] < least] + [j for j in order if numbers[j] >= least]
            lead = len(order) if number < begin_step else len(order) - symbols if number == begin_step else 0
            values = {}
            for j, place in enumerate(order):
                table = self.tables[numbers[place]]
                if j < lead:
                    lane = j % self.choices.lanes
                    self.states[lane], member = self._pop(self.states[lane], table)
                    if self.states[lane] < 65536:
                        word = int.from_bytes(self.data[self.word_at : self.word_at + 2], "little")
                        self.states[lane], self.word_at = self.states[lane] * 65536 + word, self.word_at + 2
                else:
                    if j == lead and number == begin_step:
                        tail_words = [state - 65536 for state in self.states[2:]]
                    while x < 65536 and tail_words:
                        x = x * 65536 + tail_words.pop(0)
                    x, member = self._pop(x, table)
                values[place] = self._value(table, member)
            self.steps.append([(values[place], numbers[place]) for place in range(len(numbers))])
        self.hash = self.states[0] - 65536 + (self.states[1] - 65536) * 65536
        self.met = self.word_at + -(-self.bit // 8) == len(self.data)
        self.drained = x == 0
