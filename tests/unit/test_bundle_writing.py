"""Files and directories appear whole or not at all, and nothing is overwritten that was not meant."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ptp_runtime import atomic
from ptp_runtime.atomic import new_directory, require_other_file, write_bytes
from ptp_runtime.errors import UsageError

pytestmark = pytest.mark.runtime


def _leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".partial")]


def test_a_file_is_written(tmp_path: Path) -> None:
    written = write_bytes(tmp_path / "a.bin", b"abc")

    assert written.read_bytes() == b"abc"
    assert _leftovers(tmp_path) == []


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)

    write_bytes(path, b"new")

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")

    assert write_bytes(tmp_path / "a.bin", b"").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_the_target_of_a_link_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")

    write_bytes(tmp_path / "link", b"abc")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"abc"


@pytest.mark.parametrize("name", ["", "missing/a.bin", "folder"])
def test_what_cannot_be_written_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(UsageError, match="cannot be written"):
        write_bytes(tmp_path / name, b"abc")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        write_bytes(path, b"new")

    assert path.read_bytes() == b"old"
    assert _leftovers(tmp_path) == []


def test_a_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    """Replaced by a rename, not written over: who has it open reads the old bytes to their end."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    with path.open("rb") as reader:
        write_bytes(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_a_directory_appears_when_it_is_complete(tmp_path: Path) -> None:
    with new_directory(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub/file").write_bytes(b"abc")
        assert not (tmp_path / "out").exists()

    assert (tmp_path / "out/sub/file").read_bytes() == b"abc"
    assert _leftovers(tmp_path) == []


def test_a_directory_can_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with new_directory(tmp_path / "out"):
        pass

    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with new_directory(tmp_path / "out") as folder:
            (folder / "file").write_bytes(b"abc")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_bundle_is_replaced_only_when_asked(
    tmp_path: Path, in_one_step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_one_step:
        monkeypatch.setattr(atomic, "exchange", lambda one, other: False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").write_bytes(b"old")

    with pytest.raises(UsageError, match="is a bundle already"), new_directory(tmp_path / "out"):
        pass
    assert (tmp_path / "out/manifest.json").read_bytes() == b"old"
    with new_directory(tmp_path / "out", replace=True) as folder:
        (folder / "manifest.json").write_bytes(b"new")

    assert (tmp_path / "out/manifest.json").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out"]


def test_names_are_exchanged_in_one_step_where_the_system_can(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "was").write_text(name, encoding="utf-8")
    done = atomic.exchange(tmp_path / "a", tmp_path / "b")
    found = [(tmp_path / name / "was").read_text(encoding="utf-8") for name in ("a", "b")]
    assert found == (["b", "a"] if done else ["a", "b"])
    assert not atomic.exchange(tmp_path / "a", tmp_path / "absent")
    assert (tmp_path / "a" / "was").is_file()


def test_a_failed_replacement_leaves_the_old_bundle(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").write_bytes(b"old")

    with pytest.raises(ZeroDivisionError), new_directory(tmp_path / "out", replace=True):
        raise ZeroDivisionError

    assert (tmp_path / "out/manifest.json").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_directory_that_is_no_bundle_is_never_replaced(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_bytes(b"years of work")

    with pytest.raises(UsageError, match="is no bundle"), new_directory(tmp_path / "home", replace=replace):
        pass

    assert (tmp_path / "home/thesis.tex").read_bytes() == b"years of work"


def test_a_file_is_never_replaced_by_a_directory(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"abc")

    with pytest.raises(UsageError, match="is no directory"), new_directory(tmp_path / "out", replace=True):
        pass


def test_an_empty_directory_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    with new_directory(tmp_path / "out") as folder:
        (folder / "file").write_bytes(b"abc")

    assert (tmp_path / "out/file").is_file()


def test_a_directory_below_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be created"), new_directory(tmp_path / "a/b"):
        pass


def test_the_input_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"abc")
    (tmp_path / "other").symlink_to(tmp_path / "photo")

    require_other_file(tmp_path / "new", tmp_path / "photo")
    with pytest.raises(UsageError, match="is the input itself"):
        require_other_file(tmp_path / "other", tmp_path / "photo")
