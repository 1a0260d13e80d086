"""Whole collections: what is found, what is written, what is refused, and what a kill leaves."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_runtime import Session
from ptp_runtime.errors import ImageError, MissingExtraError, UsageError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.bulk.plan import Choices
from ptp_runtime.service.bulk.run import Summary, run_bulk
from ptp_runtime.service.bulk.sources import Photo, photos_of

pytestmark = pytest.mark.runtime

POCKET = {"backend": PocketBackend()}


def _png(seed: int, height: int = 40, width: int = 60) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model, segmentation."""
    return write_pocket_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photos in two folders, one of them damaged."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(10):
        path = folder / ("a" if number < 6 else "b") / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_png(number) if number != 4 else _png(number)[:200])
    (folder / "a" / "words.txt").write_text("no photo")
    return folder


def _choices(**other: Any) -> Choices:
    given = {"operation": "infer", "task": "seg", "rate": None, "convert": False, "format": "files", "shard_size": 3}
    return Choices(**(given | other))


def _run(bundle: Path, sources: list[str], output: Path, workers: int = 1, **other: Any) -> Summary:
    return run_bulk(bundle, sources, output, _choices(**other), workers=workers, session=POCKET)


@pytest.fixture(scope="module")
def begun(bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A destination of four photos; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("begun") / "out"
    _run(bundle, [str(photos / "b")], folder)
    return folder


def _everything(folder: Path) -> dict[str, str]:
    """Digest by file of a destination."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_results_are_those_of_a_session(bundle: Path, photos: Path, tmp_path: Path) -> None:
    summary = _run(bundle, [str(photos)], tmp_path / "out")

    assert summary == Summary(photos=9, failed=1, shards=4, shards_before=0)
    index = [json.loads(line) for line in (tmp_path / "out" / "index.jsonl").read_text().splitlines()]
    assert [line["key"] for line in index] == [f"a/0{n}" for n in (0, 1, 2, 3, 5)] + [f"b/0{n}" for n in range(6, 10)]
    with Session.open(bundle, PocketBackend()) as session:
        for line in index:
            data = (tmp_path / "out" / "results" / f"{line['key']}.ptp").read_bytes()
            assert data == session.encode(photos / f"{line['key']}.png")
            assert line["bytes"] == len(data)
            mask = np.asarray(Image.open(tmp_path / "out" / "results" / f"{line['key']}.mask.png"))
            assert np.array_equal(mask, session.decode(data).mask)
    (failure,) = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert failure["key"] == "a/04"
    assert failure["error"] == "BrokenImageError"


def test_the_number_of_workers_and_a_second_run_change_nothing(bundle: Path, photos: Path, tmp_path: Path) -> None:
    _run(bundle, [str(photos)], tmp_path / "one")
    _run(bundle, [str(photos)], tmp_path / "two", workers=2)
    before = _everything(tmp_path / "one")

    again = _run(bundle, [str(photos)], tmp_path / "one")

    assert len(before) > 20
    assert _everything(tmp_path / "two") == before
    assert _everything(tmp_path / "one") == before
    assert again.shards_before == again.shards == 4


def test_webdataset_in_and_out(bundle: Path, photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        archive.add(photos, arcname=".")

    summary = _run(bundle, [str(tmp_path / "in.tar")], tmp_path / "out", format="webdataset", operation="encode")

    assert summary.photos == 9
    shards = sorted((tmp_path / "out").glob("shard-*.tar"))
    assert len(shards) == 4
    found = {}
    for shard in shards:
        with tarfile.open(shard) as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.uname) == (0, 0, "")
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    with Session.open(bundle, PocketBackend()) as session:
        assert found["a/00.ptp"] == session.encode(photos / "a" / "00.png")
    assert json.loads(found["a/00.json"])["bytes"] == len(found["a/00.ptp"])
    assert len(found) == 18


def test_parquet_names_what_is_missing(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"ptp-deploy\[bulk\]"):
        _run(bundle, [str(photos)], tmp_path / "out", format="parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"operation": "encode"}, "another operation"),
        ({"format": "webdataset"}, "another --format"),
        ({"shard_size": 4}, "another --shard-size"),
        ({"convert": True}, "another --convert"),
    ],
)
def test_a_destination_of_something_else_is_refused(
    bundle: Path, photos: Path, begun: Path, other: dict[str, Any], word: str
) -> None:
    before = _everything(begun)

    with pytest.raises(UsageError, match=word):
        _run(bundle, [str(photos / "b")], begun, **other)
    with pytest.raises(UsageError, match="other photos"):
        _run(bundle, [str(photos / "a")], begun)
    assert _everything(begun) == before


def test_a_destination_of_another_bundle_is_refused(photos: Path, begun: Path, tmp_path: Path) -> None:
    other = write_pocket_bundle(tmp_path / "other", rates=2)

    with pytest.raises(UsageError, match=r"another rate, another bundle; expected rate 0, .* got rate 1, "):
        _run(other, [str(photos / "b")], begun, rate=1)


def test_a_folder_with_other_things_is_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="other things"):
        _run(bundle, [str(photos)], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_two_runs_do_not_work_at_one_destination(bundle: Path, photos: Path, tmp_path: Path) -> None:
    def began(_: int, __: int) -> Any:
        with pytest.raises(UsageError, match="another run"):
            _run(bundle, [str(photos / "b")], tmp_path / "out")
        return lambda done, failed: None

    summary = run_bulk(
        bundle, [str(photos / "b")], tmp_path / "out", _choices(), workers=1, session=POCKET, began=began
    )
    assert summary.photos == 4


def test_sources_are_found_in_every_form(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"# two photos\n{photos / 'b' / '07.png'}\n\n{photos / 'a' / '00.png'}\n")

    assert [photo.key for photo in photos_of([f"@{tmp_path / 'list.txt'}"])] == ["00", "07"]
    assert [photo.key for photo in photos_of([str(photos / "*" / "0[69].png")])] == ["06", "09"]
    assert len(photos_of([str(photos / "a"), str(photos / "b")])) == 10
    for sources, words in (
        ([str(photos / "nowhere")], "no source"),
        ([str(photos / "*.tiff")], "no photos"),
        ([str(photos / "a"), str(photos / "a" / "00.png")], "two photos"),
        ([f"@{tmp_path / 'nowhere.txt'}"], "list"),
    ):
        with pytest.raises(UsageError, match=words):
            photos_of(sources)


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "a\\out.png"])
def test_a_tar_file_does_not_lead_out_of_the_destination(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))

    with pytest.raises(UsageError, match="unsafe name"):
        photos_of([str(tmp_path / "in.tar")])
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(UsageError, match="no tar file"):
        photos_of([str(tmp_path / "bad.tar")])


def test_a_photo_that_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(_png(0))
    (photo,) = photos_of([str(path)])
    path.write_bytes(_png(0) + b"more")

    with pytest.raises(ImageError, match="changed"):
        photo.read()
    with pytest.raises(ImageError, match="cannot be read"):
        Photo("k", str(tmp_path / "gone.png"), 3).read()


def test_a_session_that_does_not_open_says_why(bundle: Path, photos: Path, tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(UsageError, match="no such backend"):
        run_bulk(bundle, [str(photos)], tmp_path / "out", _choices(), workers=2, session={"backend": "abacus"})
    assert time.monotonic() - begin < 60
