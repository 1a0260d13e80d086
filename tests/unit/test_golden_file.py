"""golden.bin: what goes in comes out, and these are its bytes."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from ptp_runtime.errors import UsageError
from ptp_runtime.golden import GOLDEN_LIMIT, GoldenStep, GoldenTest, value_digest
from ptp_runtime.golden.stored import MAX_SIDE

pytestmark = pytest.mark.runtime

SMALLEST = GoldenTest(
    z_hat=np.array([[[-2]]], np.int16),
    q=np.arange(16, dtype=np.int16).reshape(1, 4, 4),
    steps=(
        GoldenStep(
            (0, 1),
            "bottom-right",
            np.array([[[1, 2], [3, 63]]], np.uint8),
            np.array([[[-1, 0], [16, 8191]]], np.int16),
            {"c": 0xA1B2C3D4},
            {"s/0": 5, "s/1": 6},
        ),
    ),
    outputs={"part_00": 7},
    layers={},
)
BYTES = """
    50 54 50 58 01 00 01 00 01 00 01 01 01 00
    fe ff
    00 00 01 00 02 00 03 00 04 00 05 00 06 00 07 00 08 00 09 00 0a 00 0b 00 0c 00 0d 00 0e 00 0f 00
    01 00 07 70 61 72 74 5f 30 30 07 00 00 00
    00 00
    00 00 01 00 06
    01 02 03 3f
    ff ff 00 00 10 00 ff 1f
    01 00 01 63 d4 c3 b2 a1
    02 00 03 73 2f 30 05 00 00 00 03 73 2f 31 06 00 00 00
"""


def drawn(schedule: tuple[tuple[int, int, str], ...], rows: int = 2, columns: int = 3, seed: int = 0) -> GoldenTest:
    """A test of random content for a schedule."""
    random = np.random.default_rng(seed)
    steps = []
    for start, stop, region in schedule:
        scale = 2 if "-" in region else 4
        shape = (stop - start, scale * rows, scale * columns)
        index = random.integers(0, 64, shape, dtype=np.uint8)
        mean = random.integers(-8191, 8192, shape, dtype=np.int16)
        steps.append(GoldenStep((start, stop), region, index, mean, {}, {f"layer/{start}/{region}": start}))
    z_hat = random.integers(-1023, 1024, (3, rows, columns), dtype=np.int16)
    q = random.integers(-500, 500, (8, 4 * rows, 4 * columns), dtype=np.int16)
    return GoldenTest(z_hat, q, tuple(steps))


def test_the_smallest_file_has_these_bytes() -> None:
    assert SMALLEST.to_bytes() == bytes.fromhex(BYTES)


@pytest.mark.parametrize(
    "schedule",
    [
        ((0, 8, "all"),),
        ((0, 2, "anchor"), (0, 2, "nonanchor"), (2, 8, "all")),
        tuple((0, 8, corner) for corner in ("top-left", "bottom-left", "top-right", "bottom-right")),
    ],
    ids=["whole", "checkerboard", "quadrants"],
)
def test_a_test_survives_its_file(schedule: tuple[tuple[int, int, str], ...]) -> None:
    before = drawn(schedule)

    after = GoldenTest.from_bytes(before.to_bytes())

    assert after.to_bytes() == before.to_bytes()
    assert np.array_equal(after.z_hat, before.z_hat)
    assert np.array_equal(after.q, before.q)
    for ours, theirs in zip(before.steps, after.steps, strict=True):
        assert (theirs.channels, theirs.region, theirs.layers) == (ours.channels, ours.region, ours.layers)
        assert np.array_equal(theirs.index, ours.index)
        assert np.array_equal(theirs.mean, ours.mean)


def test_every_kind_of_bytes_is_read() -> None:
    data = SMALLEST.to_bytes()

    assert {GoldenTest.from_bytes(kind(data)).digest for kind in (bytes, bytearray, memoryview)} == {SMALLEST.digest}


def test_the_digest_of_values_is_a_checksum_of_float32() -> None:
    values = [0.0, 1.0, -3.5, 8191.0, 2.0**23]
    wanted = zlib.crc32(struct.pack("<5f", *values))

    assert value_digest(np.array(values, np.float32)) == wanted
    assert value_digest(np.array(values, np.float64)) == wanted
    assert value_digest(np.array([[5], [7]], np.int64)) == zlib.crc32(struct.pack("<2f", 5, 7))


def test_a_negative_zero_is_zero() -> None:
    assert value_digest(np.array([-0.0, 1], np.float32)) == value_digest(np.array([0.0, 1], np.float32))


def test_the_order_of_an_array_in_memory_does_not_matter() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)

    assert value_digest(np.asfortranarray(values)) == value_digest(values)
    assert value_digest(values.T) != value_digest(values)


@pytest.mark.parametrize("value", [2**24 + 1, np.float64(0.1), np.int64(2**60 + 1)])
def test_what_float32_does_not_hold_has_no_digest(value: Any) -> None:
    with pytest.raises(UsageError, match="numbers that float32 holds"):
        value_digest(np.array([value]))


def test_the_golden_digest_names_every_result_and_nothing_else() -> None:
    step = SMALLEST.steps[0]
    others = [
        dataclasses.replace(SMALLEST, outputs={"part_00": 8}),
        dataclasses.replace(SMALLEST, steps=(dataclasses.replace(step, index=step.index + np.uint8(1)),)),
        dataclasses.replace(SMALLEST, steps=(dataclasses.replace(step, mean=step.mean - np.int16(1)),)),
        dataclasses.replace(SMALLEST, steps=(dataclasses.replace(step, outputs={"c": 1}),)),
    ]

    assert len({test.digest for test in [SMALLEST, *others]}) == 5
    assert dataclasses.replace(SMALLEST, layers={"h/0": 1}).digest == SMALLEST.digest, "layers are no results"


@pytest.mark.parametrize(
    "changes",
    [
        {"z_hat": np.zeros((1, 1, 1), np.int32)},
        {"z_hat": np.zeros((0, 1, 1), np.int16)},
        {"z_hat": np.zeros((1, 1), np.int16)},
        {"z_hat": np.zeros((1, 1, 2), np.int16)},
        {"z_hat": np.zeros((1, MAX_SIDE + 1, 1), np.int16), "q": np.zeros((1, 4 * MAX_SIDE + 4, 4), np.int16)},
        {"q": np.zeros((1, 4, 8), np.int16)},
        {"steps": ()},
        {"steps": SMALLEST.steps * 256},
        {"outputs": {"": 1}},
        {"outputs": {"a b": 1}},
        {"outputs": {"größe": 1}},
        {"outputs": {"x" * 256: 1}},
        {"layers": {"a": 1 << 32}},
        {"layers": {"a": -1}},
        {"layers": {str(n): 0 for n in range(1025)}},
    ],
    ids=lambda changes: " ".join(changes) + " " + str(next(iter(changes.values())))[:12].replace("\n", " "),
)
def test_what_the_file_cannot_hold_is_refused_when_it_is_made(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="golden test"):
        dataclasses.replace(SMALLEST, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": (0, 2)},
        {"channels": (1, 1)},
        {"channels": (0, 65536)},
        {"region": "all"},
        {"region": "middle"},
        {"index": np.zeros((1, 2, 2), np.int8)},
        {"mean": np.zeros((1, 2, 3), np.int16)},
        {"mean": np.zeros((1, 2, 2), np.int32)},
    ],
    ids=str,
)
def test_a_step_that_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="golden test"):
        dataclasses.replace(SMALLEST, steps=(dataclasses.replace(SMALLEST.steps[0], **changes),))


def test_a_test_larger_than_its_file_may_be_is_not_written() -> None:
    large = dataclasses.replace(
        drawn(((0, 8, "all"),), MAX_SIDE, MAX_SIDE), q=np.zeros((2100, 4 * MAX_SIDE, 4 * MAX_SIDE), np.int16)
    )

    with pytest.raises(UsageError, match=f"at most {GOLDEN_LIMIT} bytes"):
        large.to_bytes()
