"""Runs on a real Ray, where it is installed: the same bytes as the pool's, after kills too, and typed errors."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptp_runtime.selftest import write_pocket_bundle

pytest.importorskip("ray", reason="Ray is too large for the tests' environment: pip install 'ptp-deploy[bulk-ray]'")

SHARDS = 12
# A program of its own each time, as a run is; the model is slow, so that there is time to kill it, and kills its
# process at a black photo. Actors find their classes by the file's name, so it is imported, not run as __main__.
_MODEL = """
import os, signal, time
from ptp_runtime.errors import EngineError
from ptp_runtime.selftest import PocketBackend

class Slow(PocketBackend):
    def load(self, bundle, graph):
        loaded = super().load(bundle, graph)
        if graph.role == "analysis":
            run = loaded.run
            def slow(inputs):
                time.sleep(0.1)
                if inputs["image"].max() == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return run(inputs)
            loaded.run = slow
        return loaded
"""
_DRIVER = """
import sys
from ptp_runtime.errors import PtpError
from ptp_runtime.service.bulk.plan import Choices
from ptp_runtime.service.bulk.run import run_bulk
from slow_model import Slow

if __name__ == "__main__":
    source, output, how = sys.argv[1:]
    told = lambda done, failed: print("shard", flush=True)
    choices = Choices("infer", "seg", None, False, "webdataset", 2)
    session = {"backend": "abacus" if how == "typed" else Slow()}
    try:
        summary = run_bulk("bundle", [source], output, choices, workers=2, ray=how != "pool", session=session,
                           began=lambda photos, before: told)
        print("summary", summary.photos, summary.failed)
    except PtpError as error:
        print(type(error).__name__, error, flush=True)
        raise SystemExit(error.exit_code)
"""


def _photo(path: Path, seed: int | None) -> None:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(seed or 0).integers(1, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise * (seed is not None)).save(path, "PNG")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle, photos, program, and the result of a pool."""
    folder = tmp_path_factory.mktemp("ray")
    write_pocket_bundle(folder / "bundle")
    for number in range(2 * SHARDS):
        _photo(folder / "in" / f"{number:03d}.png", number)
        if number < 6:
            _photo(folder / "black" / f"{number:03d}.png", None if number == 3 else number)
    (folder / "slow_model.py").write_text(_MODEL)
    (folder / "driver.py").write_text(_DRIVER)
    assert _said(_driver(folder, "in", "pool", "pool")) == (0, SHARDS, "summary 24 0")
    return folder


def _driver(place: Path, *words: str) -> subprocess.Popen[str]:
    # Sources and destination are relative here: actors stand in another folder.
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "driver.py", *words]
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _said(driver: subprocess.Popen[str]) -> tuple[int, int, str]:
    """Exit code, finished shards, last line."""
    out = driver.communicate(timeout=240)[0]
    return driver.returncode, out.count("shard\n"), out.splitlines()[-1] if out else ""


def _everything(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _parents() -> dict[int, int]:
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            found[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    return found


def _actors(driver: int) -> list[int]:
    """Processes of the driver's own cluster that hold a session: Ray names them after what they run."""
    parents, found = _parents(), []
    for pid, parent in parents.items():
        try:
            if parents.get(parent) == driver and b"MapWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def _alive(pids: list[int]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_nothing_disturbs(place: Path) -> None:
    assert _said(_driver(place, "in", "calm", "ray")) == (0, SHARDS, "summary 24 0")
    assert _everything(place / "calm") == _everything(place / "pool")


def test_an_actor_is_killed(place: Path) -> None:
    disturbed = _driver(place, "in", "actor", "ray")
    assert disturbed.stdout is not None
    assert disturbed.stdout.readline() == "shard\n"
    actors = _actors(disturbed.pid)
    assert actors
    os.kill(actors[0], signal.SIGKILL)

    code, shards, last = _said(disturbed)

    assert (code, shards + 1, last) == (0, SHARDS, "summary 24 0")
    assert _everything(place / "actor") == _everything(place / "pool")


def test_the_driver_is_killed(place: Path) -> None:
    disturbed = _driver(place, "in", "driver", "ray")
    assert disturbed.stdout is not None
    assert disturbed.stdout.readline() == "shard\n"
    actors = _actors(disturbed.pid)
    disturbed.kill()
    disturbed.communicate()
    done = len(list((place / "driver" / "done").glob("*.json")))
    assert 1 <= done < SHARDS
    assert not (place / "driver" / "index.jsonl").exists()
    for _ in range(300):
        if not _alive(actors):
            break
        time.sleep(0.1)
    assert not _alive(actors), "actors outlive their driver"

    code, shards, last = _said(_driver(place, "in", "driver", "ray"))

    assert (code, last) == (0, "summary 24 0")
    assert shards <= SHARDS - done
    assert _everything(place / "driver") == _everything(place / "pool")


def test_a_photo_that_kills_its_actors_is_given_up(place: Path) -> None:
    assert _said(_driver(place, "black", "black-out", "ray")) == (0, 3, "summary 5 1")
    failure = json.loads((place / "black-out" / "failures.jsonl").read_text())
    assert (failure["key"], failure["error"]) == ("003", "WorkerDied")
    assert not (place / "black-out" / "at").exists()


def test_a_session_that_does_not_open_says_why(place: Path) -> None:
    code, shards, last = _said(_driver(place, "in", "typed-out", "typed"))
    assert (code, shards) == (2, 0)
    assert last.startswith("UsageError there is no such backend; expected auto")
