"""Opening a bundle: every file is verified before anything of it is used.

A bundle is a directory that ``ptp-export`` wrote (``docs/bundle-format.md``). Only files that its manifest lists are
ever read, and each is read through :meth:`Bundle.read`, which hands out the very bytes that it has hashed, so that a
file swapped after the opening is refused too.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ptp_runtime.errors import AlteredFileError, BundleError, ManifestError, MissingFileError, TaskNotAvailableError
from ptp_runtime.manifest import MANIFEST_NAME, EngineEntry, FileEntry, GraphEntry, Manifest, manifest_from_json
from ptp_runtime.manifest.json_format import MANIFEST_LIMIT
from ptp_runtime.signing import SIGNATURE_NAME

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were all present and unaltered when it was opened.

    Attributes:
        path: of the directory, absolute.
        manifest: what the files are for, of one task.
        main: the manifest that lists all tasks; ``manifest`` itself where that is the task.
    """

    path: Path
    manifest: Manifest
    main: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], task: str | None = None) -> Bundle:
        """Open a bundle and verify the SHA-256 of each file that its manifest lists.

        Args:
            path: of the directory.
            task: which of its tasks; None: its main one.

        Raises:
            MissingFileError: the directory, its manifest or a listed file is not there.
            AlteredFileError: a file is not the one that was exported; the message names it.
            ManifestError: the manifest cannot be understood, or points outside the bundle.
            TaskNotAvailableError: the bundle does not serve the task.
        """
        bundle = cls.open_unverified(path, task)
        for entry in dict.fromkeys((*bundle.main.files(), *bundle.manifest.files())):
            bundle.verify(entry)
        return bundle

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks that it serves, the main one first."""
        return (self.main.task.name, *self.main.others)

    def of_task(self, task: str) -> Bundle:
        """The same bundle for another of its tasks; its files are verified when they are read.

        Raises:
            TaskNotAvailableError: it does not serve the task.
            BundleError: that task's manifest cannot be used.
        """
        if task == self.manifest.task.name:
            return self
        if task == self.main.task.name:
            return Bundle(self.path, self.main, self.main)
        if task not in self.main.others:
            raise TaskNotAvailableError(
                f"the bundle {self.path} does not serve the task {task!r}",
                expected=" or ".join(map(repr, self.tasks)),
                got=repr(task),
                hint=f"export one for it: ptp-export --task {task}",
            )
        manifest = manifest_from_json(self.read(self.main.others[task], MANIFEST_LIMIT))
        if manifest.task.name != task or manifest.others:
            raise ManifestError(
                f"{self.main.others[task].file} is not the manifest of the task {task!r}",
                got=repr(manifest.task.name),
                hint="export the bundle again",
            )
        return Bundle(self.path, manifest, self.main)

    @classmethod
    def open_unverified(cls, path: str | os.PathLike[str], task: str | None = None) -> Bundle:
        """Read the manifest alone. Whoever needs the files verifies them, each with :meth:`verify` or :meth:`read`.

        Raises:
            BundleError: as :meth:`open`, of the directory and its manifest.
        """
        folder = Path(os.path.abspath(path))
        if not folder.exists():
            raise MissingFileError(
                f"there is no bundle at {path}",
                expected="a directory written by ptp-export",
                hint="check the path, or export one: ptp-export --task seg -o BUNDLE",
            )
        if not folder.is_dir():
            raise BundleError(
                f"{path} is no bundle",
                expected="a directory written by ptp-export",
                got="a file",
                hint="check the path",
            )
        data = _read(folder, MANIFEST_NAME, MANIFEST_LIMIT)
        manifest = manifest_from_json(data)
        bundle = cls(folder, manifest, manifest)
        return bundle if task is None else bundle.of_task(task)

    def verify(self, entry: FileEntry) -> int:
        """Hash one listed file without keeping it; returns its size in bytes. Errors as :meth:`open`."""
        digest = hashlib.sha256()
        size = 0
        with _open(self.path, entry.file) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
        _compare(entry, digest.hexdigest())
        return size

    def read(self, entry: FileEntry | GraphEntry | EngineEntry, limit: int | None = None) -> bytes:
        """The bytes of one listed file, hashed again; of a graph with a prompt, both files. Errors as :meth:`open`.

        Args:
            entry: of the manifest.
            limit: refuse a larger file (:class:`BundleError`) without reading the rest of it; None: any size.
        """
        if isinstance(entry, GraphEntry) and entry.prompt is not None:
            data = b"".join(self.read(part, limit) for part in entry.stored())
            _compare(FileEntry(entry.file, entry.sha256), hashlib.sha256(data).hexdigest())
            return data
        data = _read(self.path, entry.file, limit)
        if limit is not None and len(data) > limit:
            raise BundleError(
                f"{entry.file} is too large",
                expected=f"at most {limit} bytes",
                got="more",
                hint="do not use this bundle",
            )
        _compare(FileEntry(entry.file, entry.sha256), hashlib.sha256(data).hexdigest())
        return data

    def read_beside(self, name: str, limit: int) -> bytes:
        """The bytes of the manifest or its signature, which no manifest lists; at most one more than the limit.

        Raises:
            MissingFileError: it is not there.
            BundleError: it cannot be read.
        """
        return _read(self.path, name, limit)

    def engine(self, graph: str, target: str) -> EngineEntry | None:
        """The engine that stands for a graph on a target, or None where the bundle has none."""
        for engine in self.manifest.engines:
            if engine.graph == graph and engine.target == target:
                return engine
        return None

    def unlisted(self) -> tuple[str, ...]:
        """Files in the directory that the manifest does not list; they are never used. Relative, sorted."""
        manifests = [self.main, *(self.of_task(task).manifest for task in self.main.others)]
        listed = {entry.file for manifest in manifests for entry in manifest.files()} | {MANIFEST_NAME, SIGNATURE_NAME}
        found = (p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if not p.is_dir())
        return tuple(sorted(name for name in found if name not in listed))


def _open(folder: Path, name: str) -> _Reader:
    path = folder / name
    root = os.path.realpath(folder)
    real = os.path.realpath(path)
    if os.path.commonpath([root, real]) != root:
        raise ManifestError(
            f"{name} is a link that leads out of the bundle",
            expected="files inside the bundle",
            got=real,
            hint="do not use this bundle",
        )
    try:
        # Not Path.is_file followed by open: a pipe of that name would block for ever.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(
            f"{name} is missing from the bundle {folder}",
            expected="every file that the manifest lists",
            hint="copy the whole directory again, or export the bundle again",
        ) from None
    except OSError as error:
        raise BundleError(
            f"{name} in the bundle {folder} cannot be read",
            got=error.strerror or str(error),
            hint="check the permissions",
        ) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise BundleError(f"{name} in the bundle {folder} is no regular file", hint="copy the bundle again")
    return _Reader(os.fdopen(number, "rb"), name)


class _Reader:
    """A file of the bundle whose read errors name it."""

    def __init__(self, file: io.BufferedReader, name: str) -> None:
        self._file = file
        self._name = name

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, all where that is negative."""
        try:
            return self._file.read(size)
        except OSError as error:
            raise BundleError(
                f"{self._name} cannot be read", got=error.strerror or str(error), hint="check the disk"
            ) from error


def _read(folder: Path, name: str, limit: int | None) -> bytes:
    with _open(folder, name) as file:
        # One byte more than the limit, so that the reader of the content can see that it is too long.
        return file.read(-1 if limit is None else limit + 1)


def _compare(entry: FileEntry, digest: str) -> None:
    if digest != entry.sha256:
        raise AlteredFileError(
            f"{entry.file} is not the file that was exported",
            expected=f"SHA-256 {entry.sha256[:16]}…",
            got=f"{digest[:16]}…",
            hint="copy the bundle again, or export it again",
        )
