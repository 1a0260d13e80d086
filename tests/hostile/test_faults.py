"""A writer that is killed or finds the disk full leaves nothing or the whole; graphs that fail are typed errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptp_runtime.backends import Backend
from ptp_runtime.errors import EngineError, UsageError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.session import Session

pytestmark = pytest.mark.runtime


def test_killed_writers_and_full_disks_leave_nothing_or_the_whole(repository: Path, tmp_path: Path) -> None:
    """Eight of what ``benchmarks/faults.py`` does by the hundred."""
    done = subprocess.run(
        [sys.executable, "benchmarks/faults.py", "--count", "8", "--json", str(tmp_path / "faults.json")],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    kinds = json.loads((tmp_path / "faults.json").read_text())["kinds"]
    assert {kind: result["rounds"] for kind, result in kinds.items()} == dict.fromkeys(
        ("bundle", "replace", "stream", "full"), 2
    )
    assert kinds["full"]["found"] == {"refused with a typed error": 2}


def test_a_full_disk_is_a_typed_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(UsageError, match="cannot be written") as caught:
        write_pocket_bundle(tmp_path / "bundle")

    assert "No space left" in caught.value.got
    assert list(tmp_path.iterdir()) == []


class _Dies(PocketBackend):
    """A device that is gone from some call on."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def load(self, bundle, graph):  # type: ignore[no-untyped-def]
        loaded = super().load(bundle, graph)
        run = loaded.run

        def dying(inputs):  # type: ignore[no-untyped-def]
            self.calls -= 1
            if self.calls < 0:
                raise EngineError(f"the graph {graph.name!r} failed", got="the device is lost", hint="use the CPU")
            return run(inputs)

        loaded.run = dying  # type: ignore[method-assign]
        return loaded


@pytest.mark.parametrize("calls", range(6))
def test_a_device_lost_in_the_middle_is_a_typed_error_and_the_cpu_gives_the_same_bytes(
    tmp_path: Path, calls: int
) -> None:
    """The session does not fall back by itself in the middle of a photo: the caller opens one on the CPU."""
    folder = write_pocket_bundle(tmp_path / "bundle")
    photo = np.random.default_rng(2).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    lost: Backend = _Dies(calls)
    wanted = Session.open(folder, PocketBackend()).encode(photo)

    with Session.open(folder, lost) as session:
        for _ in range(2):
            with pytest.raises(EngineError, match="failed"):
                session.encode(photo)
        lost.calls = 100  # type: ignore[attr-defined]
        assert session.encode(photo) == wanted, "a failed photo left something behind"
    with Session.open(folder, PocketBackend()) as instead:
        assert instead.encode(photo) == wanted
