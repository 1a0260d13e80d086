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
    """A session of a backend that was asked for by name does not fall back by itself."""
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


@pytest.mark.parametrize("calls", range(12))
def test_a_device_lost_in_the_middle_is_replaced_where_the_policy_allows(
    tmp_path: Path, calls: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The call that failed is made again elsewhere, so that the photo it was lost in is finished."""
    folder = write_pocket_bundle(tmp_path / "bundle", mode="integer")
    photo = np.random.default_rng(2).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    with Session.open(folder, PocketBackend()) as session:
        wanted = session.encode(photo)
        mask = session.decode(wanted).mask
    lost = _Dies(1000)

    with Session.open(folder, lost, on_failure=PocketBackend()) as session:
        lost.calls = calls
        for _ in range(5):
            assert session.encode(photo) == wanted
            assert np.array_equal(session.decode(wanted).mask, mask)
        asked = lost.calls
        assert session.encode(photo) == wanted
        assert lost.calls == asked, "a graph that failed three times in a row is not asked again"

    said = [record.message for record in caplog.records if "from here on" in record.message]
    graphs = [graph.name for graph in session.manifest.graphs]
    assert sorted(message.rsplit(" ", 1)[1] for message in said) == sorted(graphs), "said once for each graph"


def test_one_photo_that_is_too_much_for_a_device_does_not_cost_the_device(tmp_path: Path) -> None:
    folder = write_pocket_bundle(tmp_path / "bundle", mode="integer")
    photo = np.random.default_rng(2).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    lost = _Dies(1000)

    with Session.open(folder, lost, on_failure=PocketBackend()) as session:
        for _ in range(4):
            lost.calls = 0
            session.encode(photo[:64, :64])
            lost.calls = before = 1000
            session.encode(photo)
            assert lost.calls < before, "the backend works again, and is used"


def test_what_no_backend_can_run_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    folder = write_pocket_bundle(tmp_path / "bundle", mode="integer")
    photo = np.random.default_rng(2).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    lost, other = _Dies(1000), _Dies(0)

    with Session.open(folder, lost, on_failure=other) as session:
        wanted = session.encode(photo)
        lost.calls = 0
        with pytest.raises(EngineError):
            session.encode(photo)
        lost.calls = 1000
        assert session.encode(photo) == wanted
    with pytest.raises(UsageError, match="treat a failure"):
        Session.open(folder, PocketBackend(), on_failure="pray")


_LIMITED = """
import resource, sys
import numpy as np
from ptp_runtime import Session
from ptp_runtime.errors import PtpError
from ptp_runtime.selftest import PocketBackend

with Session.open(sys.argv[1], PocketBackend()) as session:
    small = np.zeros((64, 64, 3), np.uint8)
    wanted = session.encode(small)
    session.decode(wanted)
    large = np.zeros((4096, 4096, 3), np.uint8)
    held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (48 << 20), held + (48 << 20)))
    try:
        session.encode(large)
    except PtpError as error:
        print(type(error).__name__, error)
    assert session.encode(small) == wanted
    session.decode(wanted)
    print("and on it goes")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to know what the process holds")
def test_a_limit_of_memory_is_a_typed_error_and_not_the_end(tmp_path: Path) -> None:
    folder = write_pocket_bundle(tmp_path / "bundle", height=(64, 4096), width=(64, 4096))

    done = subprocess.run([sys.executable, "-c", _LIMITED, str(folder)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("OutOfMemoryError there is not enough memory to encode this photo")
    assert second == "and on it goes"
