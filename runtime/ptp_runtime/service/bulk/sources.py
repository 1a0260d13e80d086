"""Which photos there are: folders, files, globs, lists of paths, and tar files of WebDataset, in a fixed order."""

from __future__ import annotations

import glob
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ptp_runtime.errors import ImageError, UsageError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".gif"))
"""Of files that are taken for photos, in folders and in tar files."""


@dataclass(frozen=True, slots=True)
class Photo:
    """Where a photo lies.

    Attributes:
        key: its name in the results: a path with ``/`` and without the suffix; unique.
        path: of its file, or of the tar file that holds it; absolute, because a worker may stand elsewhere.
        size: bytes.
        offset: where it begins in the tar file; None outside of one.
    """

    key: str
    path: str
    size: int
    offset: int | None = None

    def read(self) -> bytes:
        """The bytes of the photo's file.

        Raises:
            ImageError: it cannot be read, or is shorter than it was.
        """
        try:
            with open(self.path, "rb") as file:
                if self.offset is not None:
                    file.seek(self.offset)
                data = file.read(self.size + 1 if self.offset is None else self.size)
        except OSError as error:
            raise ImageError(f"{self.path} cannot be read", got=error.strerror or str(error)) from error
        if len(data) != self.size:
            raise ImageError(
                f"{self.path} changed while it was worked on", expected=f"{self.size} bytes", got=f"{len(data)} or more"
            )
        return data


def photos_of(sources: Sequence[str]) -> list[Photo]:
    """All photos of the sources, sorted by key.

    Args:
        sources: folders (searched to the bottom; links to folders are not followed), files, globs, ``@FILE`` with one
            of these in each line, and uncompressed ``.tar`` files.

    Raises:
        UsageError: a source is not there, two photos have the same key, or there are none.
    """
    found: dict[str, Photo] = {}
    for source in sources:
        for photo in _photos(source):
            if photo.key in found:
                raise UsageError(
                    f"two photos would be called {photo.key!r}",
                    expected="names that differ by more than their suffix",
                    got=f"{found[photo.key].path} and {photo.path}",
                    hint="give a folder above both, or work on them one after the other",
                )
            found[photo.key] = photo
    if not found:
        raise UsageError(
            "there are no photos", expected="files that end in " + ", ".join(sorted(SUFFIXES)), got=", ".join(sources)
        )
    return [found[key] for key in sorted(found)]


def _photos(source: str) -> Iterator[Photo]:
    if source.startswith("@"):
        for line in _lines(source[1:]):
            yield from _photos(line)
        return
    path = Path(os.path.abspath(source))
    if path.is_dir():
        yield from _folder(path)
    elif path.suffix.lower() == ".tar" and path.is_file():
        yield from _tar(path)
    elif path.is_file():
        yield Photo(path.stem, str(path), path.stat().st_size)
    elif glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))
        for match in matches:
            if Path(match).suffix.lower() in {*SUFFIXES, ".tar"} or Path(match).is_dir():
                yield from _photos(glob.escape(match) if glob.has_magic(match) and not Path(match).exists() else match)
    else:
        raise UsageError(
            f"there is no source {source!r}",
            expected="a folder, a photo, a glob, a .tar file, or @FILE with one of these in each line",
            hint="decompress the tar file first" if path.name.endswith((".tar.gz", ".tgz")) else "check the path",
        )


def _lines(path: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {path} cannot be read", expected="UTF-8 text", got=str(error)) from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if any(line.startswith("@") for line in lines):
        raise UsageError(f"the list {path} names another list", expected="photos, folders, globs and .tar files")
    return lines


def _folder(folder: Path) -> Iterator[Photo]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(root) / name
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                key = path.relative_to(folder).with_suffix("").as_posix()
                yield Photo(key, str(path), path.stat().st_size)


def _tar(path: Path) -> Iterator[Photo]:
    """The photos of a tar file by their places in it: nothing is extracted."""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if not member.isreg() or name.suffix.lower() not in SUFFIXES:
                    continue
                if member.sparse is not None:
                    raise UsageError(f"{path} holds a sparse file", got=member.name, hint="pack it again")
                yield Photo(safe_key(member.name, str(path)), str(path), member.size, member.offset_data)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UsageError(
            f"{path} is no tar file that can be read", expected="an uncompressed one", got=str(error)
        ) from error


def safe_key(name: str, where: str) -> str:
    """The key of a member of a tar file.

    Raises:
        UsageError: its name leads out of the folder that results are written to.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UsageError(
            f"{where} holds a file with an unsafe name", expected="a path below its own folder", got=repr(name)
        )
    return path.with_suffix("").as_posix()
