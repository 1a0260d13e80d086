"""The header: what comes back, what is refused, and that reading it needs no compiler."""

from __future__ import annotations

import dataclasses
import struct
import subprocess
import sys
import zlib
from typing import Any

import pytest

from ptp_runtime.bitstream import StreamHeader, identity_prefix, read_header
from ptp_runtime.bitstream.header import stream_from_parts
from ptp_runtime.errors import (
    CorruptStreamError,
    NotAStreamError,
    StreamVersionError,
    TruncatedStreamError,
    UsageError,
)

pytestmark = pytest.mark.runtime

PLAIN = StreamHeader(identity=b"\x01\x02\x03\x04", task=1, width=693, height=520, steps=10, lanes=32)
RICH = dataclasses.replace(
    PLAIN,
    original_width=4000,
    original_height=3000,
    rate=3,
    quality=77,
    float_entropy=True,
    step_checks=True,
    zero_map=True,
    skip_index=255,
    lanes=8,
)
WITH_ARITHMETIC = dataclasses.replace(RICH, arithmetic=b"\xca\xfe\xba\xbe", seals_means=True)


def resealed(data: bytes) -> bytes:
    """The stream with the CRC that its bytes now have; the header's length is one byte."""
    at = 16 + 4 * bool(data[3] & 8) + 2 * bool(data[3] & 16) + 4 * bool(data[3] & 32) + 1
    crc = zlib.crc32(data[at + 4 :], zlib.crc32(data[:at]))
    return data[:at] + struct.pack("<I", crc) + data[at + 4 :]


@pytest.mark.parametrize("header", [PLAIN, RICH, WITH_ARITHMETIC], ids=["plain", "rich", "arithmetic"])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 20000])
def test_a_header_comes_back_as_it_went(header: StreamHeader, size: int) -> None:
    data = stream_from_parts(header, bytes(size))

    for kind in (bytes, bytearray, memoryview):
        assert read_header(kind(data)) == dataclasses.replace(header, payload_bytes=size)


def test_a_usual_header_takes_22_bytes() -> None:
    assert len(stream_from_parts(PLAIN, bytes(15000))) == 15000 + 22


def test_the_header_holds_these_bytes() -> None:
    data = stream_from_parts(RICH, b"\xaa")

    assert data[:23].hex(" ") == ("50 54 01 1f 3c ff 0a 01 02 03 04 01 b5 02 08 02 a0 0f b8 0b 03 4d 01"), (
        "PT, 1, flags, 12 bits and 2^3 lanes, skip, steps, identity, task, 693, 520, 4000, 3000, rate, quality, length"
    )
    assert data[23:] == struct.pack("<I", zlib.crc32(data[:23] + b"\xaa")) + b"\xaa"


def test_the_arithmetic_stands_behind_the_rate() -> None:
    data = stream_from_parts(WITH_ARITHMETIC, b"\xaa")

    assert data[:4].hex(" ") == "50 54 01 7f"
    assert data[20:27].hex(" ") == "03 4d ca fe ba be 01", "rate, quality, arithmetic, length"
    assert data[4:22] == stream_from_parts(RICH, b"\xaa")[4:22]


def test_sealed_means_take_no_byte() -> None:
    sealed = stream_from_parts(dataclasses.replace(PLAIN, seals_means=True), b"123456")

    assert sealed[3] == 0x40
    assert len(sealed) == len(stream_from_parts(PLAIN, b"123456"))


def test_an_arithmetic_without_a_float_path_is_refused() -> None:
    data = bytearray(stream_from_parts(WITH_ARITHMETIC, b"123456"))
    data[3] &= ~1

    with pytest.raises(CorruptStreamError, match="arithmetic"):
        read_header(resealed(bytes(data)))


@pytest.mark.parametrize("arithmetic", [b"123", b"12345"])
def test_a_fingerprint_of_another_length_is_refused(arithmetic: bytes) -> None:
    with pytest.raises(UsageError, match="arithmetic"):
        dataclasses.replace(RICH, arithmetic=arithmetic)


def test_an_integer_path_has_no_fingerprint() -> None:
    with pytest.raises(UsageError, match="integer entropy path"):
        dataclasses.replace(PLAIN, arithmetic=b"1234")


def test_the_padded_size_bounds_what_a_decoder_needs() -> None:
    assert PLAIN.padded() == (576, 704)
    assert dataclasses.replace(PLAIN, width=64, height=1).padded() == (64, 64)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("identity", b"123"),
        ("identity", "1234"),
        ("task", 256),
        ("task", -1),
        ("width", 0),
        ("height", 65536),
        ("steps", 256),
        ("skip_index", 256),
        ("rate", 256),
        ("quality", -1),
        ("original_width", 5),
        ("lanes", 4),
        ("probability_bits", 11),
    ],
)
def test_a_writer_cannot_make_an_impossible_header(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match="stream header"):
        dataclasses.replace(PLAIN, **{field: value})


def test_an_identity_is_cut_to_four_bytes() -> None:
    assert identity_prefix("0a0b0c0d" + "00" * 28) == b"\x0a\x0b\x0c\x0d"
    assert identity_prefix(b"12345") == b"1234"
    for wrong in ("no hex", "0a0b", b"123"):
        with pytest.raises(UsageError, match="identity"):
            identity_prefix(wrong)


def test_empty_and_foreign_bytes_are_no_stream() -> None:
    for data in (b"", b"\x89PNG\r\n\x1a\n", b"PX", b"Q", bytes(100)):
        with pytest.raises(NotAStreamError):
            read_header(data)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused(version: int) -> None:
    data = bytearray(stream_from_parts(PLAIN, b"x"))
    data[2] = version

    with pytest.raises(StreamVersionError, match="expected 1; got"):
        read_header(data)


def test_a_short_stream_says_how_many_bytes_are_missing() -> None:
    data = stream_from_parts(PLAIN, bytes(1000))

    with pytest.raises(TruncatedStreamError, match="expected 1022 bytes; got 1021"):
        read_header(data[:-1])


def test_bytes_behind_the_payload_are_refused() -> None:
    with pytest.raises(CorruptStreamError, match="expected 27 bytes; got 28"):
        read_header(stream_from_parts(PLAIN, b"123456") + b"!")


def test_a_changed_payload_differs_from_its_crc() -> None:
    data = bytearray(stream_from_parts(PLAIN, b"123456"))
    data[-1] ^= 1

    with pytest.raises(CorruptStreamError, match="CRC-32"):
        read_header(data)


@pytest.mark.parametrize(
    ("at", "value"),
    [(3, 0x80), (4, 0x2C), (4, 0x6C), (4, 0x3B), (4, 0x3D), (12, 0), (14, 0)],
    ids=["flag 7", "4 lanes", "64 lanes", "11 bits", "13 bits", "no columns", "no rows"],
)
def test_a_field_that_no_writer_gives_is_refused_even_with_a_good_crc(at: int, value: int) -> None:
    data = bytearray(stream_from_parts(PLAIN, b"123456"))
    data[at] = value
    if at >= 12:
        data[at + 1] = 0

    with pytest.raises(CorruptStreamError):
        read_header(resealed(bytes(data)))


@pytest.mark.parametrize(
    "rest", [b"\x00\x00\x01\x00", b"\x01\x00\x00\x00"], ids=["no original columns", "no original rows"]
)
def test_an_original_size_of_nothing_is_refused(rest: bytes) -> None:
    data = stream_from_parts(dataclasses.replace(PLAIN, original_width=9, original_height=9), b"123456")

    with pytest.raises(CorruptStreamError):
        read_header(resealed(data[:16] + rest + data[20:]))


def test_rate_and_quality_of_zero_are_not_written() -> None:
    data = stream_from_parts(dataclasses.replace(PLAIN, rate=1), b"123456")

    with pytest.raises(CorruptStreamError, match="flags"):
        read_header(resealed(data[:16] + b"\x00\x00" + data[18:]))


@pytest.mark.parametrize("length", [b"\x86\x00", b"\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\x80\x01"])
def test_a_length_of_another_spelling_is_refused(length: bytes) -> None:
    data = stream_from_parts(PLAIN, b"123456")

    with pytest.raises(CorruptStreamError, match="payload length"):
        read_header(data[:16] + length + data[17:])


def test_a_huge_length_allocates_nothing() -> None:
    data = stream_from_parts(PLAIN, b"123456")

    with pytest.raises(TruncatedStreamError, match="34359738"):
        read_header(data[:16] + b"\xff\xff\xff\xff\x7f" + data[17:])


def test_reading_a_header_loads_no_compiler() -> None:
    code = "import sys, ptp_runtime.bitstream; sys.exit('numba' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, env=_environment()).returncode == 0


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path)}
