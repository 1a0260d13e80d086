"""What no photo could satisfy, and names that a layout cannot hold, are refused before a run begins."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import UsageError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.bulk.journal import Journal
from ptp_runtime.service.bulk.plan import Choices, Plan
from ptp_runtime.service.bulk.shard import Opening, Shard, ShardWorker
from ptp_runtime.service.bulk.sources import Photo, photos_of
from ptp_runtime.splitting import split_bundle

pytestmark = pytest.mark.runtime


def _choices(**other: Any) -> Choices:
    given = {"operation": "encode", "task": "seg", "rate": None, "convert": False, "format": "files", "shard_size": 3}
    return Choices(**(given | other))


def _photos(*keys: str) -> list[Photo]:
    return [Photo(key, f"/photos/{key}.png", 10) for key in keys]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model, segmentation, with three rates."""
    return write_pocket_bundle(tmp_path_factory.mktemp("bundle") / "bundle", rates=3)


@pytest.mark.parametrize("rate", [3, 99, -1])
def test_a_rate_that_no_photo_could_have_is_refused(bundle: Path, rate: int) -> None:
    with pytest.raises(UsageError, match=f"no rate {rate}; expected 0 .* to 2"):
        Plan.of(Bundle.open(bundle), _choices(rate=rate), _photos("a"))
    assert Plan.of(Bundle.open(bundle), _choices(rate=2), _photos("a")).identity["rate"] == 2


def test_the_default_rate_by_its_number_is_the_same_run(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.manifest.entropy.rates is not None
    default = opened.manifest.entropy.rates.default
    unsaid, said, other = (Plan.of(opened, _choices(rate=rate), _photos("a")) for rate in (None, default, default - 1))

    said.require_same(unsaid.identity, "out")
    with pytest.raises(UsageError, match=f"another rate; expected rate {default}; got rate {default - 1}"):
        other.require_same(unsaid.identity, "out")


def test_a_side_that_lacks_the_graphs_is_refused(bundle: Path, tmp_path: Path) -> None:
    for side in ("encoder", "decoder"):
        split_bundle(bundle, side, tmp_path / side)

    with pytest.raises(UsageError, match=r"the encoder's side .* cannot infer"):
        Plan.of(Bundle.open(tmp_path / "encoder"), _choices(operation="infer"), _photos("a"))
    with pytest.raises(UsageError, match=r"the decoder's side .* cannot encode"):
        Plan.of(Bundle.open(tmp_path / "decoder"), _choices(), _photos("a"))
    assert Plan.of(Bundle.open(tmp_path / "encoder"), _choices(), _photos("a")).shards == 1


@pytest.mark.parametrize(
    ("layout", "keys", "words"),
    [
        ("webdataset", ("d/p.1", "d/p_1"), "d/p.1.png and .*d/p_1.png"),
        ("files", ("a", "a.ptp/b"), "'a.ptp'"),
        ("files", ("d/a", "d/a.mask.png/b/c"), "'d/a.mask.png'"),
        ("parquet", ("a", "\udcff"), "UTF-8"),
    ],
)
def test_names_that_a_layout_cannot_hold_are_refused(
    bundle: Path, layout: str, keys: tuple[str, ...], words: str
) -> None:
    opened = Bundle.open(bundle)
    with pytest.raises(UsageError, match=words):
        Plan.of(opened, _choices(format=layout), _photos(*keys))
    for other in {"files", "webdataset", "parquet"} - {layout}:
        if other != "parquet" or "\udcff" not in keys:
            assert Plan.of(opened, _choices(format=other), _photos(*keys)).shards == 1


def test_photos_are_found_wherever_a_worker_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"abc")
    (tmp_path / "list.txt").write_text("in/a.png\n")
    monkeypatch.chdir(tmp_path)
    found = [photos_of([source]) for source in ("in", "in/a.png", "in/*.png", "@list.txt")]

    monkeypatch.chdir("/")

    assert [photo.read() for (photo,) in found] == [b"abc"] * 4


def test_a_name_without_room_for_its_endings_is_one_failure(bundle: Path, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    (tmp_path / "in").mkdir()
    for name in ("a", "x" * 251):
        (tmp_path / "in" / f"{name}.png").write_bytes(file.getvalue())
    choices = _choices(operation="infer")
    plan = Plan.of(Bundle.open(bundle), choices, photos_of([str(tmp_path / "in")]))
    journal = Journal(tmp_path / "out")

    with journal.opened(plan):
        worker = ShardWorker(Opening(str(bundle), str(tmp_path / "out"), choices, {"backend": PocketBackend()}))
        assert worker.work(Shard(0, plan.shard(0), {})) == (1, 1)
        assert journal.finish(plan) == (1, 1)
        worker.close()

    failure = json.loads((tmp_path / "out" / "failures.jsonl").read_text())
    assert (failure["key"], failure["error"]) == ("x" * 251, "UsageError")
    assert "too long" in failure["message"]
    assert failure["hint"] in failure["message"]
    assert "rename the photo" in failure["hint"]
