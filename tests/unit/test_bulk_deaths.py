"""Workers that break: what is tried again, what is given up, and when the run ends instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendError, EngineError, PtpError, UsageError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.bulk import formats, ray_pool
from ptp_runtime.service.bulk.attempts import Attempts, forget_attempts
from ptp_runtime.service.bulk.deaths import DEATHS, Deaths
from ptp_runtime.service.bulk.journal import Journal
from ptp_runtime.service.bulk.plan import Choices, Plan
from ptp_runtime.service.bulk.shard import Opening, Shard, ShardWorker
from ptp_runtime.service.bulk.sources import photos_of

pytestmark = pytest.mark.runtime

CHOICES = Choices("encode", "seg", None, False, "files", 10)
SHARD = Shard(4, [], {})


def test_a_photo_is_given_up_at_the_third_death() -> None:
    deaths = Deaths()
    for _ in range(DEATHS - 1):
        assert deaths.blame(SHARD, "a", "SIGKILL") == SHARD
        assert deaths.blame(SHARD, "b", "SIGSEGV") == SHARD

    given_up = deaths.blame(SHARD, "a", "SIGKILL").given_up

    assert list(given_up) == ["a"]
    assert (given_up["a"].error, given_up["a"].hint) == ("WorkerDied", "try it alone")
    assert "3 workers died at it; the last: SIGKILL" in given_up["a"].message


def test_deaths_while_a_shard_is_written_end_the_run() -> None:
    deaths = Deaths()
    for number in (4, 5):
        for _ in range(DEATHS - 1):
            deaths.blame(Shard(number, [], {}), "", "SIGKILL")

    with pytest.raises(BackendError, match=r"wrote shard 4; got SIGKILL; .*--shard-size"):
        deaths.blame(SHARD, "", "SIGKILL")


def test_a_backend_that_fails_at_photo_after_photo_ends_the_run() -> None:
    lost = EngineError("device lost", hint="look at the device")
    for well, ends in ((False, True), (True, False)):
        deaths, shard = Deaths(), SHARD
        for photo in "ab":
            for _ in range(DEATHS):
                shard = deaths.blame(shard, photo, lost)
        assert {(one.error, one.hint) for one in shard.given_up.values()} == {("EngineError", "look at the device")}
        if well:
            deaths.well()
        for _ in range(DEATHS - 1):
            shard = deaths.blame(shard, "c", lost)
        if ends:
            with pytest.raises(BackendError, match=r"3 photos in a row.*device lost"):
                deaths.blame(shard, "c", lost)
        else:
            assert list(deaths.blame(shard, "c", lost).given_up) == ["a", "b", "c"]


def test_attempts_say_where_they_broke(tmp_path: Path) -> None:
    for photos in (["a", "b\n"], [], ["a"]):
        attempt = Attempts(tmp_path, 7)
        attempt.begin()
        for photo in photos:
            attempt.at(photo)
    Attempts(tmp_path, 17).begin()
    (path,) = [path for path in (tmp_path / "at").iterdir() if path.read_text() == '"a"\n']
    path.write_text('"a"\n"hal')

    assert sorted(Attempts(tmp_path, 7).earlier()) == ["", "a", "b\n"]
    Attempts(tmp_path, 7).end()
    assert Attempts(tmp_path, 7).earlier() == []
    assert Attempts(tmp_path, 17).earlier() == [""]
    forget_attempts(tmp_path)
    assert list(tmp_path.iterdir()) == []


class _Failing(PocketBackend):
    """A backend that fails at black photos, in this process."""

    def load(self, bundle: Any, graph: Any) -> Any:
        loaded = super().load(bundle, graph)
        if graph.role == "analysis":
            run = loaded.run

            def failing(inputs: Any) -> Any:
                if inputs["image"].max() == 0:
                    raise EngineError("device lost", hint="look at the device")
                return run(inputs)

            loaded.run = failing
        return loaded


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model, segmentation."""
    return write_pocket_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


def _begun(bundle: Path, folder: Path, black: set[int], **session: Any) -> tuple[Opening, Plan, Journal]:
    """Six photos in one shard, some of them black, and a destination for them."""
    (folder / "in").mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(1, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels * (number not in black)).save(folder / "in" / f"{number}.png")
    plan = Plan.of(Bundle.open(bundle), CHOICES, photos_of([str(folder / "in")]))
    return Opening(str(bundle), str(folder / "out"), CHOICES, session), plan, Journal(folder / "out")


def _by_actor(opening: Opening, shard: Shard) -> tuple[int, int]:
    """What an actor of Ray answers, without Ray."""
    actor = ray_pool._Actor(opening)
    rows = actor({"shard": [ray_pool._text(shard)]})
    if rows["error"][0]:
        raise ray_pool._error(rows["error"][0])
    return rows["done"][0], rows["failed"][0]


def test_a_failing_backend_is_no_failure_of_a_photo(bundle: Path, tmp_path: Path) -> None:
    opening, plan, journal = _begun(bundle, tmp_path, {2}, backend=_Failing())
    with journal.opened(plan):
        worker = ShardWorker(opening)
        with pytest.raises(EngineError, match="device lost"):
            worker.work(Shard(0, plan.shard(0), {}))
        assert journal.done(plan) == set()


@pytest.mark.parametrize("black", [{2}, {0, 2, 4, 5}, {0, 1, 2}])
def test_an_actor_tries_with_new_sessions_then_gives_up(bundle: Path, tmp_path: Path, black: set[int]) -> None:
    opening, plan, journal = _begun(bundle, tmp_path, black, backend=_Failing())
    with journal.opened(plan):
        if black == {0, 1, 2}:
            with pytest.raises(BackendError, match="3 photos in a row"):
                _by_actor(opening, Shard(0, plan.shard(0), {}))
            assert journal.done(plan) == set()
            return
        assert _by_actor(opening, Shard(0, plan.shard(0), {})) == (6 - len(black), len(black))
        journal.finish(plan)
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert [(one["key"], one["error"]) for one in failures] == [
        (str(number), "EngineError") for number in sorted(black)
    ]
    assert not (tmp_path / "out" / "at").exists()


def test_an_actor_gives_up_the_photo_at_which_others_died(bundle: Path, tmp_path: Path) -> None:
    opening, plan, journal = _begun(bundle, tmp_path, set(), backend=PocketBackend())
    with journal.opened(plan):
        for _ in range(DEATHS):
            attempt = Attempts(tmp_path / "out", 0)
            attempt.begin()
            attempt.at("3")
        assert _by_actor(opening, Shard(0, plan.shard(0), {})) == (5, 1)
        journal.finish(plan)
    assert json.loads((tmp_path / "out" / "failures.jsonl").read_text())["key"] == "3"


def test_a_session_that_does_not_open_is_told_as_its_error(bundle: Path, tmp_path: Path) -> None:
    opening, plan, journal = _begun(bundle, tmp_path, set(), backend="abacus")
    with journal.opened(plan), pytest.raises(UsageError, match=r"no such backend; expected .*; got 'abacus'"):
        _by_actor(opening, Shard(0, plan.shard(0), {}))


def test_a_recorded_shard_is_not_done_again(bundle: Path, tmp_path: Path) -> None:
    opening, plan, journal = _begun(bundle, tmp_path, set(), backend=PocketBackend())
    with journal.opened(plan):
        worker, told = ShardWorker(opening), []
        for _ in range(2):
            assert worker.work(Shard(0, plan.shard(0), {}), lambda key, done: told.append((key, done))) == (6, 0)
    assert told == [("0", 0), ("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5), ("", 6)]


def test_what_cannot_be_written_is_a_typed_error(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, plan, journal = _begun(bundle, tmp_path, set(), backend=PocketBackend())

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(formats, "write_bytes", broken)
    with journal.opened(plan):
        with pytest.raises(PtpError, match=r"shard 0 cannot be written .*Input/output error"):
            ShardWorker(opening).work(Shard(0, plan.shard(0), {}))
        assert journal.done(plan) == set()


def test_what_killed_writers_left_is_removed_at_the_end(bundle: Path, tmp_path: Path) -> None:
    opening, plan, journal = _begun(bundle, tmp_path, set(), backend=PocketBackend())
    with journal.opened(plan):
        ShardWorker(opening).work(Shard(0, plan.shard(0), {}))
        (tmp_path / "out" / "results" / ".0.ptp.x1.partial").write_bytes(b"half")
        (tmp_path / "out" / "done" / ".000000.json.x2.partial").write_bytes(b"half")
        journal.finish(plan)

    names = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith(".partial")]
    assert len(names) == 6 + len(("bulk.json", "done", "index", "failures"))
