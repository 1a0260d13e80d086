"""Damage to bytes: anywhere, or inside a stream whose length and CRC are then made to fit.

A flipped bit of a stream is caught by the CRC, so damage anywhere tests the front door and nothing behind it. Whoever
forges a stream forges the CRC too: :func:`forged_stream` does, and so the header's checks, the prefix and the coder
see what they must refuse.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence

MAGIC = b"PT\x01"
INTERESTING = (0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 129, 192, 240, 254, 255)
WORDS = (0, 1, 63, 64, 65, 255, 256, 4095, 4096, 4097, 32767, 65535)
_SIZE_AT = 12


def damaged(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to four changes: bits, bytes, runs cut out, put in, repeated, or taken from another sample."""
    value = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        kind, at = chance.randrange(8), chance.randrange(len(value) + 1)
        run = chance.choice((1, 1, 2, 4, 16, 64))
        if kind == 0 and at < len(value):
            value[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(value):
            value[at] = chance.choice(INTERESTING)
        elif kind == 2:
            del value[at : at + run]
        elif kind == 3:
            value[at:at] = chance.randbytes(run)
        elif kind == 4:
            value[at:at] = value[at : at + run]
        elif kind == 5:
            value[at : at + run] = bytes([chance.choice(INTERESTING)]) * run
        elif kind == 6:
            del value[at:]
        else:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            value[at : at + run] = other[start : start + run]
    return bytes(value)


def start_size(data: bytes) -> int:
    """Bytes of a stream's header in front of the payload length."""
    flags = data[3]
    return 16 + 4 * bool(flags & 8) + 2 * bool(flags & 16) + 4 * bool(flags & 32)


def parts(data: bytes) -> tuple[bytes, bytes]:
    """Start and payload of a whole stream."""
    size = at = start_size(data)
    while data[at] & 128:
        at += 1
    return data[:size], data[at + 5 :]


def joined(start: bytes, payload: bytes) -> bytes:
    """A stream of these bytes with the length and the CRC that fit them."""
    length, head = len(payload), start
    while length > 127:
        head, length = head + bytes([length & 127 | 128]), length >> 7
    head += bytes([length])
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


def forged_stream(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A stream with damage in its header, its prefix or its words, under a length and a CRC that fit."""
    start, payload = parts(data)
    where = chance.randrange(10)
    if where == 0:
        fields = bytearray(start)
        fields[chance.randrange(2, len(fields))] = chance.choice(INTERESTING)
        start = bytes(fields)
    elif where == 1:
        side = struct.pack("<H", chance.choice(WORDS))
        at = _SIZE_AT + 2 * chance.randrange(2)
        start = start[:at] + side + start[at + 2 :]
    elif where < 5:
        # The zero map, the tail, the step checks and the lanes' states stand in front.
        front = chance.choice((4, 16, 48))
        payload = damaged(chance, payload[:front], [parts(other)[1] for other in others]) + payload[front:]
    else:
        payload = damaged(chance, payload, [parts(other)[1] for other in others])
    return joined(start, payload)
