"""A bundle with a missing, changed or dangerous file is refused on opening, with the file's name."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import AlteredFileError, BundleError, ManifestError, MissingFileError
from ptp_runtime.selftest import write_pocket_bundle

pytestmark = pytest.mark.runtime

FILES = (
    "manifest.json",
    "tables.bin",
    "graphs/analysis.json",
    "graphs/hyper.json",
    "graphs/step_00.json",
    "graphs/step_03.json",
    "graphs/synthesis.json",
    "graphs/head.json",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good bundle to spoil."""
    return write_pocket_bundle(tmp_path / "bundle")


def test_the_good_bundle_opens(folder: Path) -> None:
    bundle = Bundle.open(folder)

    assert bundle.unlisted() == ()
    assert {"manifest.json", *(entry.file for entry in bundle.manifest.files())} >= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(MissingFileError, match=name):
        Bundle.open(folder)


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("where", [0, -1])
def test_a_changed_byte_is_named(folder: Path, name: str, where: int) -> None:
    data = bytearray((folder / name).read_bytes())
    data[where] ^= 1
    (folder / name).write_bytes(data)

    with pytest.raises(AlteredFileError, match=name):
        Bundle.open(folder)


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("change", ["shorter", "longer", "empty"])
def test_another_length_is_named(folder: Path, name: str, change: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes({"shorter": data[:-1], "longer": data + b"\0", "empty": b""}[change])

    with pytest.raises(AlteredFileError, match=name):
        Bundle.open(folder)


@settings(max_examples=30, deadline=None)
@given(where=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_no_flipped_bit_of_the_tables_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, where: int, bit: int
) -> None:
    folder = write_pocket_bundle(tmp_path_factory.mktemp("flip") / "bundle")
    data = bytearray((folder / "tables.bin").read_bytes())
    data[where % len(data)] ^= 1 << bit
    (folder / "tables.bin").write_bytes(data)

    with pytest.raises(AlteredFileError, match=r"tables\.bin"):
        Bundle.open(folder)


def test_files_swapped_with_one_another_are_named(folder: Path) -> None:
    first, second = folder / "graphs/step_00.json", folder / "graphs/step_01.json"
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)

    with pytest.raises(AlteredFileError, match="step_0"):
        Bundle.open(folder)


def test_a_file_changed_after_the_opening_is_not_used(folder: Path) -> None:
    bundle = Bundle.open(folder)
    (folder / "graphs/head.json").write_bytes(b"{}")

    with pytest.raises(AlteredFileError, match=r"head\.json"):
        bundle.read(bundle.manifest.graph("head"))


def test_what_is_read_is_what_was_hashed(folder: Path) -> None:
    bundle = Bundle.open(folder)
    entry = bundle.manifest.entropy.tables

    assert hashlib.sha256(bundle.read(entry)).hexdigest() == entry.sha256


def test_an_unlisted_file_is_left_alone(folder: Path) -> None:
    (folder / "graphs/extra.onnx").write_bytes(b"not ours")
    (folder / ".hidden").write_bytes(b"")

    assert Bundle.open(folder).unlisted() == (".hidden", "graphs/extra.onnx")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_a_link_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    """Even to a file with the right content: what lies outside can be changed by others."""
    outside = tmp_path / "outside.json"
    shutil.move(folder / "graphs/head.json", outside)
    (folder / "graphs/head.json").symlink_to(outside)

    with pytest.raises(ManifestError, match="leads out of the bundle"):
        Bundle.open(folder)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_a_linked_folder_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "graphs", tmp_path / "graphs")
    (folder / "graphs").symlink_to(tmp_path / "graphs")

    with pytest.raises(ManifestError, match="leads out of the bundle"):
        Bundle.open(folder)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_a_link_to_the_bundle_itself_is_fine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)

    assert Bundle.open(tmp_path / "current").manifest.task.name == "seg"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("name", ["manifest.json", "graphs/head.json"])
def test_a_pipe_does_not_block(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)

    with pytest.raises(BundleError, match="no regular file"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["manifest.json", "graphs/head.json"])
def test_a_directory_in_the_place_of_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()

    with pytest.raises(BundleError, match=name):
        Bundle.open(folder)


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no bundle"):
        Bundle.open(tmp_path / "nothing")


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(BundleError, match="is no bundle"):
        Bundle.open(tmp_path / "file")


def test_an_empty_directory_lacks_its_manifest(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"manifest\.json"):
        Bundle.open(tmp_path)
