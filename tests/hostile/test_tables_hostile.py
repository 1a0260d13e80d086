"""``tables.bin`` from someone who means harm: one error for each way to be wrong, and never anything but that error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.errors import BundleError
from ptp_runtime.tables import Table, Tables

pytestmark = pytest.mark.runtime

TABLES = Tables.build([Table(-1, (1, 4093, 1, 1)), Table(0, (4095, 1))], [Table(300, (4000, 96), 3)])
GOOD = TABLES.to_bytes()


def altered(at: int, value: bytes) -> bytes:
    return GOOD[:at] + value + GOOD[at + len(value) :]


def test_the_good_file_is_good() -> None:
    assert Tables.from_bytes(GOOD) == TABLES


@pytest.mark.parametrize("size", range(len(GOOD)))
def test_every_truncation_is_refused(size: int) -> None:
    with pytest.raises(BundleError, match=r"tables\.bin"):
        Tables.from_bytes(GOOD[:size])


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (altered(0, b"PTPX"), "starts with"),
        (altered(4, b"\x02"), "version 1"),
        (altered(5, b"\x0b"), "12-bit"),
        (altered(6, b"\x00\x00"), "scale tables"),
        (altered(6, b"\x01\x01"), "scale tables"),
        (altered(8, b"\x01\x10"), "hyper tables"),
        (altered(8, b"\x02\x00"), "table 3"),
        (altered(8, b"\x00\x00"), "bytes"),
        (altered(12, b"\x00"), "regular symbols"),
        (altered(13, b"\x10"), "escape order"),
        (altered(14, b"\x00\x00"), "at least 1"),
        (altered(14, b"\x02\x00"), "sum to 4096"),
        (altered(10, b"\x00\x80"), None),
        (altered(10, b"\xff\x7f"), "16 bits"),
        (GOOD + b"\x00", "bytes"),
        (b"", "at least 10"),
    ],
)
def test_each_way_to_be_wrong_is_named(data: bytes, fault: str | None) -> None:
    if fault is None:
        assert Tables.from_bytes(data) != TABLES
        return
    with pytest.raises(BundleError, match=fault):
        Tables.from_bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_random_bytes_raise_the_typed_error(data: bytes) -> None:
    with pytest.raises(BundleError):
        Tables.from_bytes(GOOD[:10] + data if len(data) % 2 else data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_gives_other_tables(at: int, change: int) -> None:
    data = altered(at, bytes([GOOD[at] ^ change]))
    try:
        tables = Tables.from_bytes(data)
    except BundleError:
        return
    assert tables.to_bytes() == data
    assert tables.sha256 != TABLES.sha256
