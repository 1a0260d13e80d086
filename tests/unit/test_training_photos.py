"""Fetching and preparing training photographs, on small packages made here; nothing is downloaded."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from ptp_model.training.photos import debian, selection
from ptp_model.training.photos.debian import DebianPackage, PackageError
from ptp_model.training.photos.prepare import PhotoError, prepare
from ptp_model.training.photos.qt_resource import QtResourceError, read_files
from ptp_model.training.photos.selection import Selection, Source


def _picture(width: int, height: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def _collection(files: dict[str, bytes], *, compressed: frozenset[str] = frozenset()) -> bytes:
    """A Qt resource collection of version 1 with one folder ``pictures``, typed from the layout in Qt's sources."""
    names, offsets = b"", {}
    for name in ("pictures", *files):
        offsets[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    data, starts = b"", {}
    for name, content in files.items():
        starts[name] = len(data)
        data += struct.pack(">I", len(content)) + content
    tree = struct.pack(">IHII", 0, 2, 1, 1) + struct.pack(">IHII", offsets["pictures"], 2, len(files), 2)
    for name in files:
        tree += struct.pack(">IHHHI", offsets[name], 1 if name in compressed else 0, 0, 0, starts[name])
    tree_at = 20
    names_at = tree_at + len(tree)
    return b"qres" + struct.pack(">4I", 1, tree_at, names_at + len(names), names_at) + tree + names + data


def _source(name: str, content: bytes, *, path: str = "a.png", member: str = "", split: str = "train") -> Source:
    return Source(name, "pack", path, member, hashlib.sha256(content).hexdigest(), split)


def test_a_collection_yields_its_files() -> None:
    files = {"a.png": b"first", "b.webp": b"", "c.jpg": b"\x00" * 300}

    assert dict(read_files(_collection(files))) == {f"pictures/{name}": content for name, content in files.items()}


def test_compressed_files_are_passed_over() -> None:
    collection = _collection({"a": b"plain", "b": b"squeezed"}, compressed=frozenset({"b"}))

    assert dict(read_files(collection)) == {"pictures/a": b"plain"}


@pytest.mark.parametrize("data", [b"", b"nope" + bytes(40), b"qres" + struct.pack(">4I", 1, 10_000, 20, 20)])
def test_what_is_no_collection_is_refused(data: bytes) -> None:
    with pytest.raises(QtResourceError):
        list(read_files(data))


def test_a_truncated_collection_is_refused() -> None:
    collection = _collection({"a": bytes(100)})

    with pytest.raises(QtResourceError):
        list(read_files(collection[:-1]))


def test_a_collection_whose_tree_loops_is_refused() -> None:
    collection = bytearray(_collection({"a": b"x"}))
    collection[20 + 14 + 6 : 20 + 14 + 14] = struct.pack(">II", 1, 1)  # the folder is its own child

    with pytest.raises(QtResourceError, match="loop"):
        list(read_files(bytes(collection)))


def test_pictures_are_scaled_down_and_indexed(tmp_path: Path) -> None:
    large, small = _picture(400, 100), _picture(50, 70)
    package = tmp_path / "pack"
    package.mkdir()
    (package / "large.png").write_bytes(large)
    (package / "box.rcc").write_bytes(_collection({"small.png": small}))
    chosen = Selection(
        packages=(),
        sources=(
            _source("wide", large, path="large.png"),
            _source("tall", small, path="box.rcc", member="pictures/small.png", split="held-out"),
        ),
    )
    seen: list[str] = []

    index = prepare(chosen, {"pack": package}, tmp_path / "out", long_side=200, on_photo=seen.append)

    entries = {entry["file"]: entry for entry in json.loads(index.read_text(encoding="utf-8"))["photos"]}
    assert sorted(seen) == sorted(entries) == ["held-out/tall.jpg", "train/wide.jpg"]
    wide, tall = entries["train/wide.jpg"], entries["held-out/tall.jpg"]
    assert (wide["width"], wide["height"]) == (200, 50)
    assert (tall["width"], tall["height"], tall["split"]) == (50, 70, "held-out")
    for name, entry in entries.items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == entry["sha256"]
    assert not list((tmp_path / "out").rglob(".*")), "a half-written file was left"


def test_an_altered_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_picture(20, 20))
    chosen = Selection((), (_source("a", b"something else"),))

    with pytest.raises(PhotoError, match="a: not the bytes"):
        prepare(chosen, {"pack": tmp_path}, tmp_path / "out", long_side=100)


def test_a_picture_missing_from_its_collection_is_named(tmp_path: Path) -> None:
    (tmp_path / "box.rcc").write_bytes(_collection({"a": b"x"}))
    chosen = Selection((), (_source("b", b"", path="box.rcc", member="pictures/b"),))

    with pytest.raises(PhotoError, match="pictures/b"):
        prepare(chosen, {"pack": tmp_path}, tmp_path / "out", long_side=100)


def test_a_package_with_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pack_1%3a2_all.deb").write_bytes(b"not the package")

    with pytest.raises(PackageError, match="expected SHA-256"):
        debian.download(DebianPackage("pack", "1:2", "0" * 64), tmp_path)


def test_a_package_at_hand_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack_2.0_all.deb").write_bytes(b"bytes")
    monkeypatch.setattr(shutil, "which", lambda name: None)

    found = debian.download(DebianPackage("pack", "2.0", hashlib.sha256(b"bytes").hexdigest()), tmp_path)

    assert found.name == "pack_2.0_all.deb"


def test_a_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with pytest.raises(PackageError, match="apt-get is not on this machine"):
        debian.download(DebianPackage("pack", "2.0", "0" * 64), tmp_path)


def test_what_apt_says_reaches_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    failed = subprocess.CompletedProcess([], 100, "", "E: Version '2.0' was not found\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)

    with pytest.raises(PackageError, match="was not found"):
        debian.download(DebianPackage("pack", "2.0", "0" * 64), tmp_path)


def test_the_selection_is_consistent() -> None:
    chosen = selection.load()
    names = [source.name for source in chosen.sources]
    packages = {package.name for package in chosen.packages}

    assert len(names) == len(set(names)) > 300
    assert {source.package for source in chosen.sources} == packages
    assert {source.split for source in chosen.sources} == {"train", "held-out", "unused"}
    assert len({source.sha256 for source in chosen.sources}) == len(names)
