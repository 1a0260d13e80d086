"""``ptp bulk`` from the outside: exit codes, the JSON object, the lines of progress, refusals."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_runtime.cli import bulk_cli, main
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.bulk import run
from ptp_runtime.service.bulk.shard import ShardWorker

pytestmark = pytest.mark.runtime


@pytest.fixture
def ptp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """The command in a folder with a bundle and five photos, one damaged, on the pocket model and in this process."""
    write_pocket_bundle(tmp_path / "bundle", rates=3)
    for number in range(5):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(file, "PNG")
        path = tmp_path / ("whole" if number != 3 else "damaged") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file.getvalue()[: 200 if number == 3 else None])
    monkeypatch.chdir(tmp_path)

    def here(opening: Any, shards: Any, workers: int, told: Callable[[int, int], None]) -> None:
        assert opening.session["backend"] == "auto"
        opening.session["backend"] = PocketBackend()
        worker = ShardWorker(opening)
        for shard in shards:
            told(*worker.work(shard))

    monkeypatch.setattr(run, "run_pool", here)
    return lambda *words: main(["bulk", *words])


def test_all_is_well(ptp: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("infer", "bundle", "whole", "-o", "out", "--shard-size", "2", "--rate", "2")

    assert ptp(*words) == 0
    first = capsys.readouterr()
    assert ptp(*words) == 0
    again = capsys.readouterr()

    assert first.out == "4 photos → out\n"
    assert "4 of 4 photos, " in first.err
    assert " a second, 0:00 left" in first.err
    assert "4 of 4 photos are done already" in again.err
    names = {path.name for path in (tmp_path / "out" / "results").iterdir()}
    assert names == {f"{number}{ending}" for number in (0, 1, 2, 4) for ending in (".ptp", ".mask.png")}


def test_a_photo_that_failed_has_an_exit_code_of_its_own(
    ptp: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("encode", "bundle", "whole", "damaged", "-o", "out", "--json")

    assert ptp(*words) == bulk_cli.SOME_FAILED == 13
    printed = capsys.readouterr()
    assert ptp(*words) == 13
    again = json.loads(capsys.readouterr().out)

    values = json.loads(printed.out)
    assert printed.err == ""
    assert values.pop("seconds") >= 0
    assert values == {"photos": 4, "failed": 1, "shards": 1, "shards_before": 0, "output": "out"}
    assert (again["failed"], again["shards_before"]) == (1, 1)
    failure = json.loads((tmp_path / "out" / "failures.jsonl").read_text())
    assert list(failure) == ["key", "path", "error", "message", "hint"]
    assert (failure["key"], failure["path"]) == ("3", str(tmp_path / "damaged" / "3.png"))
    assert failure["error"] == "BrokenImageError"


def test_failures_are_told_in_progress_and_at_the_end(
    ptp: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ptp("encode", "bundle", "whole", "damaged", "-o", "out") == 13
    printed = capsys.readouterr()
    assert printed.err.startswith("5 of 5 photos, ")
    assert printed.err.endswith(" left, 1 failed\n")
    assert "1 failed: see out/failures.jsonl" in printed.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("encode", "bundle", "whole", "-o", "out", "--rate", "7"), 2, "no rate 7"),
        (("encode", "bundle", "nowhere", "-o", "out"), 2, "no source 'nowhere'"),
        (("encode", "bundle", "whole", "-o", "whole"), 2, "holds other things"),
        (("encode", "whole", "whole", "-o", "out"), 5, "manifest.json"),
        (("encode", "bundle", "whole", "-o", "out", "--task", "det"), 5, "det"),
        (("encode", "bundle", "-o", "out"), 2, "SOURCE"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_begins(
    ptp: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    assert ptp(*words) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_destination_of_another_rate_is_refused(ptp: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert ptp("encode", "bundle", "whole", "-o", "out", "--rate", "0") == 0
    assert ptp("encode", "bundle", "whole", "-o", "out", "--rate", "1") == 2
    assert "was begun with another rate; expected rate 0; got rate 1" in capsys.readouterr().err
