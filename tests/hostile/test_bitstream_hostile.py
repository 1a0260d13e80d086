"""Damaged and forged streams: always a typed error, never a crash, a hang, a read beyond the end, or wrong symbols.

The streams tried here use everything: both parities, escapes, zero map, tail, step checks or none, 8 and 32 lanes.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.bitstream import StreamHeader, read_header
from ptp_runtime.coder import Parity, StreamDecoder, StreamEncoder
from ptp_runtime.errors import (
    CorruptStreamError,
    DesynchronisedError,
    NotAStreamError,
    StreamError,
    StreamVersionError,
    TruncatedStreamError,
    WrongModelError,
)
from ptp_runtime.tables import Tables, gaussian_tables, table_from_pmf

pytestmark = pytest.mark.runtime

TABLES = Tables.build(gaussian_tables(), [table_from_pmf(np.array([0.1, 0.6, 0.2]), -1, c) for c in range(2)])
CRC_SIZE = 4


def _image(channels: int, side: int, level: int) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(5)
    indexes = np.clip(random.normal(level, 8, (channels, side, side)), 0, 63).astype(np.uint8)
    symbols = np.rint(random.normal(0, 0.15 * 1.1309 ** indexes.astype(np.float64))).astype(np.int16)
    symbols[channels // 3 : channels // 2] = 0
    symbols[0, ::3, 1] = 2000
    symbols[indexes < 2] = 0
    z = random.integers(-3, 4, (2, 2, 2)).astype(np.int16)
    return z, symbols, indexes


class Sample:
    """A stream, and what a bundle would decode it with."""

    def __init__(self, channels: int, side: int, level: int, lanes: int, *, step_checks: bool) -> None:
        self.z, self.symbols, self.indexes = _image(channels, side, level)
        header = StreamHeader(
            identity=b"abcd", task=1, width=64, height=64, steps=2, lanes=lanes, step_checks=step_checks, rate=1
        )
        encoder = StreamEncoder(TABLES, header)
        encoder.z_step(self.z)
        encoder.step(self.symbols, self.indexes, 0, Parity.EVEN)
        encoder.step(self.symbols, self.indexes, 0, Parity.ODD)
        self.data = encoder.finish()

    def decode(self, data: bytes) -> None:
        decoder = StreamDecoder(data, TABLES, identity=b"abcd", task=1, steps=2)
        z = decoder.z_step(2, 2)
        symbols = decoder.step(self.indexes, 0, Parity.EVEN) + decoder.step(self.indexes, 0, Parity.ODD)
        decoder.finish()
        if not (np.array_equal(z, self.z) and np.array_equal(symbols, self.symbols)):
            raise AssertionError("other symbols passed all checks")


SAMPLES = {
    "8 lanes": Sample(30, 6, 12, 8, step_checks=False),
    "8 lanes, step checks": Sample(30, 6, 12, 8, step_checks=True),
    "32 lanes": Sample(20, 8, 16, 32, step_checks=False),
}
names = pytest.mark.parametrize("name", SAMPLES)


def crc_place(data: bytes) -> int:
    """Where the CRC stands: behind the start and the payload length."""
    at = 16 + 4 * bool(data[3] & 8) + 2 * bool(data[3] & 16)
    while data[at] & 128:
        at += 1
    return at + 1


def forged(start: bytes, payload: bytes) -> bytes:
    """A stream of these bytes with the length and the CRC that fit them."""
    length, head = len(payload), start
    while length > 127:
        head, length = head + bytes([length & 127 | 128]), length >> 7
    head += bytes([length])
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


def parts(data: bytes) -> tuple[bytes, bytes]:
    """Start and payload."""
    at = crc_place(data)
    return data[: 16 + 4 * bool(data[3] & 8) + 2 * bool(data[3] & 16)], data[at + CRC_SIZE :]


@names
def test_the_samples_use_everything(name: str) -> None:
    sample = SAMPLES[name]
    sample.decode(sample.data)

    assert read_header(sample.data).zero_map
    assert forged(*parts(sample.data)) == sample.data


@names
def test_every_truncation_is_typed(name: str) -> None:
    sample = SAMPLES[name]
    for size in range(len(sample.data)):
        error = NotAStreamError if size == 0 else TruncatedStreamError
        with pytest.raises(error):
            sample.decode(sample.data[:size])
        with pytest.raises(error):
            read_header(sample.data[:size])


@names
def test_every_flipped_bit_is_refused_before_decoding(name: str) -> None:
    sample = SAMPLES[name]
    errors = set()
    for bit in range(8 * len(sample.data)):
        data = bytearray(sample.data)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError) as caught:
            read_header(data)
        errors.add(caught.type)

    assert errors == {NotAStreamError, StreamVersionError, TruncatedStreamError, CorruptStreamError}


@names
def test_every_flipped_bit_of_the_payload_is_refused_under_a_forged_crc(name: str) -> None:
    sample = SAMPLES[name]
    start, payload = parts(sample.data)
    errors = set()
    for bit in range(8 * len(payload)):
        data = bytearray(payload)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError) as caught:
            sample.decode(forged(start, bytes(data)))
        errors.add(caught.type)

    assert errors == {CorruptStreamError, DesynchronisedError}


@names
def test_every_flipped_bit_of_the_header_is_refused_under_a_forged_crc(name: str) -> None:
    sample = SAMPLES[name]
    start, payload = parts(sample.data)
    errors = set()
    for bit in range(8 * len(start)):
        data = bytearray(start)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError) as caught:
            sample.decode(forged(bytes(data), payload))
        errors.add(caught.type)

    assert {NotAStreamError, StreamVersionError, CorruptStreamError, DesynchronisedError, WrongModelError} <= errors


@names
def test_every_truncation_is_refused_under_a_forged_crc(name: str) -> None:
    sample = SAMPLES[name]
    start, payload = parts(sample.data)
    for size in range(len(payload)):
        with pytest.raises((CorruptStreamError, DesynchronisedError)):
            sample.decode(forged(start, payload[:size]))
    for more in (b"\x00", b"\x00\x00", b"\xff" * 40):
        with pytest.raises(DesynchronisedError):
            sample.decode(forged(start, payload + more))


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(sorted(SAMPLES)), keep=st.integers(0, 80), rest=st.binary(max_size=300))
def test_random_payloads_are_refused_under_a_forged_crc(name: str, keep: int, rest: bytes) -> None:
    sample = SAMPLES[name]
    start, payload = parts(sample.data)
    if payload[:keep] + rest == payload:
        return
    with pytest.raises(StreamError):
        sample.decode(forged(start, payload[:keep] + rest))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_random_bytes_are_no_stream(data: bytes) -> None:
    for prefix in (b"", b"PT\x01"):
        with pytest.raises(StreamError):
            SAMPLES["8 lanes"].decode(prefix + data)


@pytest.mark.parametrize("fill", [b"\x00", b"\xff", b"\x80", b"\x01"])
def test_payloads_of_one_byte_value_end(fill: bytes) -> None:
    """All zeros make the longest run of zeros an escape can be asked to count, all ones the largest states."""
    for name, sample in SAMPLES.items():
        start, payload = parts(sample.data)
        for keep in range(0, len(payload), 3):
            with pytest.raises(StreamError):
                sample.decode(forged(start, payload[:keep] + fill * (len(payload) - keep)))
        assert name


@pytest.mark.parametrize(("width", "height"), [(65535, 65535), (4097, 4096), (1, 65535)])
def test_absurd_sizes_are_refused_before_anything_is_allocated(width: int, height: int) -> None:
    sample = SAMPLES["8 lanes"]
    start, payload = parts(sample.data)
    data = forged(start[:12] + struct.pack("<HH", width, height) + start[16:], payload)

    assert read_header(data).width == width
    if width * height > 2**24:
        with pytest.raises(StreamError, match="larger than this decoder accepts"):
            sample.decode(data)
    else:
        with pytest.raises(DesynchronisedError):
            sample.decode(data)


def test_a_zero_map_cannot_ask_for_memory() -> None:
    """The longest runs that five bytes can spell."""
    sample = SAMPLES["8 lanes"]
    start, payload = parts(sample.data)
    for spelling in ("05 ff ff ff ff 7f 01", "05 01 ff ff ff ff 7f", "fe ff ff ff 7f", "ff ff ff ff 7f 01 01"):
        with pytest.raises(CorruptStreamError):
            sample.decode(forged(start, bytes.fromhex(spelling) + payload))


@pytest.mark.soak
def test_no_access_leaves_an_array(repository: Path, tmp_path: Path) -> None:
    """These tests again, with kernels compiled to check each index."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__)), "-m", "not soak"]

    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-3000:]
