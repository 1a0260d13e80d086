"""Batches: order, errors, and the same bytes whatever the number of workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime import Session
from ptp_runtime.batches import run_batch
from ptp_runtime.errors import CorruptStreamError, PtpError, UnsupportedImageError, UsageError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.speed import available_cores, speed_profile

pytestmark = pytest.mark.runtime


class OddError(PtpError):
    """Of an odd number."""


def halved(number: int) -> int:
    time.sleep(0.001 * (number % 3))
    if number % 2:
        raise OddError(f"{number} is odd")
    return number // 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 5))
def test_results_stand_where_their_items_stood(numbers: list[int], workers: int) -> None:
    found = run_batch(halved, iter(numbers), workers, "keep")
    assert len(found) == len(numbers)
    for number, result in zip(numbers, found, strict=True):
        if number % 2:
            assert isinstance(result, OddError)
            assert str(number) in result.message
        else:
            assert result == number // 2


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_names_its_item_and_keeps_its_type(workers: int) -> None:
    with pytest.raises(OddError) as raised:
        run_batch(halved, [2, 4, 5, 6, 7], workers)
    assert raised.value.__notes__ in (
        ["item 2 of a batch of 5, counted from 0"],
        ["item 4 of a batch of 5, counted from 0"],
    )


def test_what_has_not_begun_when_one_fails_never_begins() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        return halved(2 * number + 1)

    with pytest.raises(OddError):
        run_batch(work, range(200), 2)
    assert len(begun) < 20


def test_a_fault_of_ours_is_no_result() -> None:
    with pytest.raises(ZeroDivisionError):
        run_batch(lambda n: 1 // n, [1, 0, 2], 2, "keep")


@pytest.mark.parametrize(("workers", "on_error"), [(0, "raise"), (2, "ignore")])
def test_batches_that_make_no_sense(workers: int, on_error: str) -> None:
    with pytest.raises(UsageError):
        run_batch(halved, [2], workers, on_error)


def test_profiles_share_out_the_cores() -> None:
    cores = available_cores()
    assert cores >= 1
    latency, throughput = speed_profile("latency"), speed_profile("throughput")
    assert (latency.threads, latency.workers) == (cores, 1)
    assert (throughput.threads, throughput.workers) == (1, cores)
    assert speed_profile("throughput", cores).workers == 1
    with pytest.raises(UsageError, match="no such profile"):
        speed_profile("fast")
    with pytest.raises(UsageError, match="number of threads"):
        speed_profile("latency", 0)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    bundle = write_pocket_bundle(tmp_path_factory.mktemp("batch") / "bundle", task="seg", rates=3, mode="integer")
    with Session.open(bundle, backend=PocketBackend(), profile="throughput") as opened:
        yield opened


def pictures(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (*random.integers(1, 200, 2), 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_a_batch_of_mixed_sizes_is_what_its_photos_are_alone(session: Session, workers: int | None) -> None:
    photos = pictures(7)
    streams = session.encode_batch(photos, rate=1, workers=workers)
    assert streams == [session.encode(photo, rate=1) for photo in photos]
    outputs = session.decode_batch(iter(streams), workers=workers)
    for output, stream, photo in zip(outputs, streams, photos, strict=True):
        assert output.mask.shape == photo.shape[:2]  # type: ignore[union-attr]
        assert np.array_equal(output.mask, session.decode(stream).mask)  # type: ignore[union-attr]


def test_a_bad_item_spoils_no_other(session: Session) -> None:
    photos = pictures(3)
    streams = session.encode_batch([photos[0], photos[1][..., 0], photos[2]], on_error="keep")
    assert isinstance(streams[1], UnsupportedImageError)
    assert [type(stream) for stream in (streams[0], streams[2])] == [bytes, bytes]
    good = session.encode_batch(photos)
    broken = [good[0], good[1][:-1] + bytes([good[1][-1] ^ 1]), good[2]]
    with pytest.raises(CorruptStreamError) as raised:
        session.decode_batch(broken)
    assert raised.value.__notes__ == ["item 1 of a batch of 3, counted from 0"]
    assert isinstance(session.decode_batch(broken, on_error="keep")[1], CorruptStreamError)


def test_an_empty_batch(session: Session) -> None:
    assert session.encode_batch([]) == session.decode_batch([]) == []


def test_batches_and_single_calls_from_many_threads_give_the_same_bytes(session: Session, tmp_path: Path) -> None:
    photos = pictures(6)
    expected = [session.encode(photo) for photo in photos]
    found: dict[int, list[bytes]] = {}

    def run(number: int) -> None:
        if number % 2:
            found[number] = session.encode_batch(photos, workers=2)
        else:
            found[number] = [session.encode(photo) for photo in photos]
        session.decode_batch(expected, workers=2)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(streams == expected for streams in found.values())
