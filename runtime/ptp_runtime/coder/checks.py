"""The hash over decoded symbols and scale indices: where it starts, and the byte it leaves behind at each step.

The sum itself is taken in the kernels (``hash_steps``, ``place``); ``docs/bitstream-format.md`` gives the formula.
"""

from __future__ import annotations

import zlib

from ptp_runtime.bitstream.header import StreamHeader, header_start

HASH_WORDS = 2
"""Lanes 0 and 1 carry the hash in the low 16 bits of their initial states."""


def hash_start(header: StreamHeader, sealed: bytes) -> int:
    """What the hash is before the first symbol: CRC-32 of the header up to the payload length, zero map and tail field.

    So a stream whose CRC was forged after a change to any of these is still refused.
    """
    return zlib.crc32(sealed, zlib.crc32(header_start(header)))


def with_witness(state: int, witness: int) -> int:
    """The hash after a step, once the step's witness is in it: both are 32 bits, a witness of 0 changes nothing."""
    return (state + witness) & 0xFFFFFFFF


def step_check(state: int) -> int:
    """The byte that stands for the hash after a step."""
    return (state * 0x9E3779B1 & 0xFFFFFFFF) >> 24
