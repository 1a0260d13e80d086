"""Kills of a run's workers and of its driver: what is left, and that the same command makes it whole."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_runtime.errors import BackendError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.bulk import deaths, pool
from ptp_runtime.service.bulk.plan import Choices
from ptp_runtime.service.bulk.run import run_bulk

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the workers"),
]

SHARDS = 8
DRIVER = Path(__file__).resolve().parents[2] / "benchmarks" / "slow_bulk.py"


def _write_photo(path: Path, seed: int | None) -> None:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(seed or 0).integers(1, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise * (seed is not None)).save(path, "PNG")


def _everything(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class _Place:
    """A bundle, photos, and what an undisturbed run makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = write_pocket_bundle(folder / "bundle")
        for number in range(2 * SHARDS):
            _write_photo(folder / "in" / f"{number:03d}.png", number % 7)
        calm = self.driver(folder / "calm")
        error = calm.communicate(timeout=120)[1]
        assert calm.returncode == 0, error
        self.wanted = _everything(folder / "calm")

    def driver(self, output: Path) -> subprocess.Popen[str]:
        command = [sys.executable, *map(str, (DRIVER, self.bundle, self.folder / "in", output)), "files"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> _Place:
    """Made once."""
    return _Place(tmp_path_factory.mktemp("kills"))


def _workers(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid
            if ours and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def test_a_worker_is_killed(place: _Place, tmp_path: Path) -> None:
    disturbed = place.driver(tmp_path / "out")
    assert disturbed.stdout is not None
    assert disturbed.stdout.readline() == "shard\n"
    workers = _workers(disturbed.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)

    out, error = disturbed.communicate(timeout=120)

    assert disturbed.returncode == 0, error
    assert "a worker died (SIGKILL)" in error
    assert 1 + out.count("shard") == SHARDS
    assert _everything(tmp_path / "out") == place.wanted


def test_the_driver_is_killed(place: _Place, tmp_path: Path) -> None:
    disturbed = place.driver(tmp_path / "out")
    assert disturbed.stdout is not None
    assert disturbed.stdout.readline() == "shard\n"
    disturbed.kill()
    disturbed.communicate()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "done").glob("*.json")}
    assert 1 <= len(finished) < SHARDS
    assert not (tmp_path / "out" / "index.jsonl").exists()
    # As a kill in the middle of a write would leave it.
    (tmp_path / "out" / "results" / ".000.ptp.abc.partial").write_bytes(b"half")

    # The workers notice and end; the next run may begin at once all the same.
    resumed = place.driver(tmp_path / "out")
    out, error = resumed.communicate(timeout=120)

    assert resumed.returncode == 0, error
    assert out.count("shard") <= SHARDS - len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert _everything(tmp_path / "out") == place.wanted


class _Dying(PocketBackend):
    """A backend that takes its process with it at a black photo."""

    def load(self, bundle: Any, graph: Any) -> Any:
        loaded = super().load(bundle, graph)
        if graph.role == "analysis":
            run = loaded.run

            def dying(inputs: Any) -> Any:
                if inputs["image"].max() == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return run(inputs)

            loaded.run = dying
        return loaded


class _DyingLater(PocketBackend):
    """A backend whose process dies when a shard is written."""

    def load(self, bundle: Any, graph: Any) -> Any:
        from ptp_runtime.service.bulk import shard

        shard.write_shard = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        return super().load(bundle, graph)


class _Stillborn(PocketBackend):
    """A backend whose process ends before it has opened anything."""

    def load(self, bundle: Any, graph: Any) -> Any:
        os._exit(3)


@pytest.fixture
def run(tmp_path: Path, place: _Place) -> Callable[[PocketBackend], Any]:
    """Runs over four photos, one of them black, with one worker."""
    for number in range(4):
        _write_photo(tmp_path / "in" / f"{number}.png", None if number == 2 else number)

    def run_with(backend: PocketBackend) -> Any:
        choices = Choices("encode", "seg", None, False, "files", 3)
        source, session = [str(tmp_path / "in")], {"backend": backend}
        return run_bulk(place.bundle, source, tmp_path / "out", choices, workers=1, session=session)

    return run_with


def test_a_photo_that_kills_its_workers_is_given_up(run: Callable[..., Any], tmp_path: Path) -> None:
    summary = run(_Dying())

    assert (summary.photos, summary.failed) == (3, 1)
    failure = json.loads((tmp_path / "out" / "failures.jsonl").read_text())
    assert (failure["key"], failure["error"]) == ("2", "WorkerDied")
    assert "SIGKILL" in failure["message"]


def test_deaths_while_a_shard_is_written_end_the_run(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deaths, "DEATHS", 2)
    with pytest.raises(BackendError, match="workers died when they wrote shard 0; got SIGKILL"):
        run(_DyingLater())
    assert list((tmp_path / "out" / "done").iterdir()) == []


def test_workers_that_never_open_end_the_run(run: Callable[..., Any]) -> None:
    with pytest.raises(BackendError, match=f"{pool.DEATHS} workers died .*exit code 3"):
        run(_Stillborn())
