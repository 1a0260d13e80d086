"""Writing files and directories so that a reader never meets half of one.

Write beside, fsync, rename: the name appears with the whole content or not at all, also when the process is
killed or the disk fills up. The temporary name starts with a dot and ends in ``.partial``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ptp_runtime.errors import UsageError

BUNDLE_MARK = "manifest.json"
"""A directory that holds this file is a bundle, and may be replaced by another one."""

#: Of <fcntl.h> and <linux/fs.h>: paths count from the current folder; both names exist and change places.
_HERE, _EXCHANGE = -100, 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when a disk, a quota or the largest size of a file is used up."""


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file atomically, replacing one of that name.

    Raises:
        UsageError: the path is a directory or something else that is no regular file, or its folder is missing
            or may not be written to.
    """
    with new_file(path) as file:
        file.write(data)
    return Path(os.path.realpath(path))


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """As :func:`write_bytes`, for what is too much to hold: the file has its name when the block ends without an error.

    Yields:
        the file to write into.

    Raises:
        UsageError: as :func:`write_bytes`.
    """
    # The target of a link is replaced, not the link: the user named the link on purpose.
    target = Path(os.path.realpath(path))
    try:
        other = target.exists() and not target.is_file()
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written", got=error.strerror or str(error), hint="choose a shorter name"
        ) from error
    if other:
        raise UsageError(
            f"{path} cannot be written", expected="the name of a file", got=_kind(target), hint="choose another name"
        )
    try:
        number, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", suffix=".partial", dir=target.parent)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written",
            expected="a folder that exists and may be written to",
            got=error.strerror or str(error),
            hint="choose another folder, or create it",
        ) from error
    temporary = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written", got=error.strerror or str(error), hint="free some space, or write elsewhere"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def require_other_file(output: str | os.PathLike[str], source: str | os.PathLike[str]) -> None:
    """Refuse to write over what is being read, under whatever name.

    Raises:
        UsageError: both paths lead to the same file or directory.
    """
    try:
        same = os.path.samefile(output, source)
    except OSError:
        # One of them does not exist, so they cannot be the same; what is wrong with it shows where it is used.
        return
    if same:
        raise UsageError(
            f"{output} is the input itself", expected="another name for the output", hint="choose another name"
        )


@contextmanager
def new_directory(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """A temporary directory beside ``path`` that becomes ``path`` when the block ends without an error.

    Args:
        path: the directory to create.
        replace: an existing *bundle* of that name may be replaced. Any other directory that is not empty is
            refused in any case: nobody means to lose a home directory.

    Yields:
        the temporary directory to fill.

    Raises:
        UsageError: the path exists and may not be replaced, its folder cannot be written to, or the disk is full.
    """
    # A symbolic link to a bundle: the bundle is replaced, the link stays.
    target = Path(os.path.realpath(path))
    _refuse_ambiguous(target, replace)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name[:80]}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise UsageError(
            f"{target} cannot be created",
            expected="a folder that exists and may be written to",
            got=error.strerror or str(error),
            hint="choose another folder, or create it",
        ) from error
    try:
        yield temporary
        _sync_tree(temporary)
        os.chmod(temporary, 0o777 & ~_umask())
        _refuse_ambiguous(target, replace)
        if target.exists() and exchange(temporary, target):
            pass  # what was replaced has the temporary name now, and goes with it
        elif target.exists():
            # Two renames: for a moment the name is absent, but it never shows a mixture of old and new.
            old = Path(tempfile.mkdtemp(prefix=f".{target.name[:80]}.", suffix=".partial", dir=target.parent))
            os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(temporary, target)
    except OSError as error:
        # Other faults of the block are for the caller to explain; that nothing fits any more is the same for all.
        if error.errno not in _FULL:
            raise
        raise UsageError(
            f"{target} cannot be written",
            got=error.strerror or str(error),
            hint="free some space, or write elsewhere; nothing was left behind",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(target.parent)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two directories in one step, so that neither name is ever absent.

    Returns:
        False, with nothing done, where the system or the file system has no such call (Linux has ``renameat2``).
    """
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if renameat2 is None:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)


def _refuse_ambiguous(target: Path, replace: bool) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise UsageError(
            f"{target} exists and is no directory", expected="a new name", hint="choose another name, or remove it"
        )
    if not any(target.iterdir()):
        return
    if not (target / BUNDLE_MARK).is_file():
        raise UsageError(
            f"{target} exists, is not empty and is no bundle",
            expected="a new name, an empty directory or a bundle",
            hint="choose another name; nothing was touched",
        )
    if not replace:
        raise UsageError(
            f"{target} is a bundle already",
            expected="a new name",
            hint="choose another name, or allow the replacement (--force)",
        )


def _kind(path: Path) -> str:
    return "a directory" if path.is_dir() else "something that is no regular file"


def _umask() -> int:
    # The only portable way to read it is to set it; the two calls are next to one another.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _mode(target: Path) -> int:
    """The mode of the file that is replaced, else what ``open`` would have given: mkstemp gives 0600."""
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system has that notion (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
