"""How the results of a shard are written. The same results give the same bytes, whoever worked on them."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ptp_runtime.atomic import write_bytes
from ptp_runtime.errors import MissingExtraError, UsageError
from ptp_runtime.service.bulk.sources import Photo

_ENDINGS = (".ptp", ".mask.png", ".boxes.json", ".classes.json", ".view.png")
"""Of files in the layout ``files``."""


@dataclass(frozen=True)
class Done:
    """What became of one photo.

    Attributes:
        key: of the photo.
        values: what the index says of it.
        files: suffix → bytes.
    """

    key: str
    values: dict[str, Any]
    files: dict[str, bytes]


def require_names(photos: Sequence[Photo], layout: str) -> None:
    """Refuse photos whose names the layout cannot hold or tell apart, before any work is done.

    Raises:
        UsageError: naming them.
    """
    if layout == "webdataset":
        seen: dict[str, Photo] = {}
        for photo in photos:
            other = seen.setdefault(_without_dots(photo.key), photo)
            if other is not photo:
                raise UsageError(
                    f"two photos would be called {_without_dots(photo.key)!r}: WebDataset ends a name at its first dot",
                    expected="names that differ by more than dots",
                    got=f"{other.path} and {photo.path}",
                    hint="rename one, or take --format files or parquet",
                )
    if layout == "parquet":
        for photo in photos:
            if not _is_text(photo.key):
                raise UsageError(
                    f"the name of {photo.path!r} is no text, which Parquet asks for",
                    expected="a name in UTF-8",
                    hint="rename it, or take --format files or webdataset",
                )
    if layout == "files":
        last = {photo.key.rpartition("/")[0] for photo in photos}
        folders = {str(folder) for name in last for folder in (PurePosixPath(name), *PurePosixPath(name).parents)}
        for photo in photos:
            for ending in _ENDINGS:
                if photo.key + ending in folders:
                    raise UsageError(
                        f"a result of {photo.path} and a folder would both be called {photo.key + ending!r}",
                        hint="rename one, or take --format webdataset or parquet",
                    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_room(folder: Path, layout: str, done: Done) -> None:
    """Refuse a photo whose name leaves no room for the results' endings.

    Raises:
        UsageError: the file system takes no such name.
    """
    if layout != "files":
        return
    longest = os.pathconf(folder, "PC_NAME_MAX")
    for suffix in done.files:
        for part in (done.key + suffix).split("/"):
            if len(os.fsencode(part)) > longest:
                raise UsageError(
                    f"the name of the result {part[:40]}…{suffix} is too long",
                    expected=f"at most {longest} bytes",
                    got=str(len(os.fsencode(part))),
                    hint="rename the photo, or take --format webdataset or parquet",
                )


def write_shard(folder: Path, number: int, layout: str, results: Sequence[Done]) -> list[str]:
    """Write a shard; each file appears whole or not at all.

    Args:
        folder: the destination.
        number: of the shard.
        layout: one of :data:`~ptp_runtime.service.bulk.plan.FORMATS`.
        results: in the order of the shard.

    Returns:
        The files, relative to the destination.

    Raises:
        MissingExtraError: pyarrow is not installed.
        UsageError: the destination cannot be written to, or the disk is full.
    """
    try:
        return _written(folder, number, layout, results)
    except OSError as error:
        raise UsageError(
            f"shard {number} cannot be written to {folder}", got=str(error), hint="look at the folder; then go on"
        ) from error


def _written(folder: Path, number: int, layout: str, results: Sequence[Done]) -> list[str]:
    if layout == "files":
        written = []
        for done in results:
            for suffix, data in done.files.items():
                path = folder / "results" / (done.key + suffix)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, data)
                written.append(path.relative_to(folder).as_posix())
        return written
    data, suffix = (_tar(results), ".tar") if layout == "webdataset" else (_parquet(results), ".parquet")
    name = f"shard-{number:06d}{suffix}"
    write_bytes(folder / name, data)
    return [name]


def _tar(results: Sequence[Done]) -> bytes:
    """A shard of WebDataset: the files of one photo follow each other and share its key."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for done in results:
            files = done.files | {".json": json.dumps(done.values, ensure_ascii=False).encode()}
            for suffix, data in files.items():
                # WebDataset ends a key at the first dot of the file's name.
                member = tarfile.TarInfo(_without_dots(done.key) + suffix)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def _without_dots(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return folder + slash + name.replace(".", "_")


def _parquet(results: Sequence[Done]) -> bytes:
    arrow, parquet = require_parquet()
    columns: dict[str, list[Any]] = {"key": [done.key for done in results]}
    columns["json"] = [json.dumps(done.values, ensure_ascii=False) for done in results]
    types = [("key", arrow.string()), ("json", arrow.string())]
    for suffix in dict.fromkeys(suffix for done in results for suffix in done.files):
        name = suffix.lstrip(".").replace(".", "_")
        columns[name] = [done.files.get(suffix) for done in results]
        types.append((name, arrow.binary()))
    file = io.BytesIO()
    parquet.write_table(arrow.table(columns, schema=arrow.schema(types)), file, compression="none")
    return file.getvalue()


def require_parquet() -> tuple[Any, Any]:
    """pyarrow and its Parquet module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs a package that is not installed",
            expected="pyarrow",
            got=str(error),
            hint="pip install 'ptp-deploy[bulk]', or take --format webdataset",
        ) from error
    return pyarrow, pyarrow.parquet
