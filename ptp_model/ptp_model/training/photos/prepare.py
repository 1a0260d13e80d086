"""Turn the selected pictures into training photographs and write their index."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from PIL import Image, ImageOps

from ptp_model.errors import ModelError
from ptp_model.training.photos.qt_resource import read_files
from ptp_model.training.photos.selection import Selection, Source

INDEX_NAME = "index.json"
JPEG_QUALITY = 95


class PhotoError(ModelError):
    """A picture that is missing from its package or is not the pinned one."""


def prepare(
    selection: Selection,
    unpacked: dict[str, Path],
    output: Path,
    *,
    long_side: int,
    on_photo: Callable[[str], None] = lambda name: None,
) -> Path:
    """Write each selected photograph as a JPEG, into a folder named after its split, and return the path of the index.

    A picture larger than ``long_side`` is scaled down with a Lanczos filter; a smaller one keeps its size. Orientation
    tags are applied. JPEG at quality 95 without chroma subsampling: the codec is trained on what a camera would give.

    Args:
        selection: what to take.
        unpacked: folder each package was unpacked to, by package name.
        output: folder to write into, made when missing.
        long_side: largest allowed side, pixels.
        on_photo: called with each name once it is written (progress).

    Raises:
        PhotoError: a picture is absent or its SHA-256 differs from the selection's.
    """
    output.mkdir(parents=True, exist_ok=True)
    entries = []
    for source, content in _pictures(selection, unpacked):
        if hashlib.sha256(content).hexdigest() != source.sha256:
            raise PhotoError(f"{source.name}: not the bytes that the selection pins; check {source.package}'s version")
        jpeg, width, height = _scaled_jpeg(content, long_side)
        name = f"{source.split}/{source.name}.jpg"
        (output / source.split).mkdir(exist_ok=True)
        _write(output / name, jpeg)
        entries.append(
            {
                "file": name,
                "split": source.split,
                "width": width,
                "height": height,
                "sha256": hashlib.sha256(jpeg).hexdigest(),
                "source": {key: value for key, value in asdict(source).items() if key not in {"name", "split"}},
            }
        )
        on_photo(name)
    entries.sort(key=lambda entry: str(entry["file"]))
    index = output / INDEX_NAME
    document = {"schema": 1, "long_side": long_side, "jpeg_quality": JPEG_QUALITY, "photos": entries}
    _write(index, (json.dumps(document, indent=1) + "\n").encode())
    return index


def _pictures(selection: Selection, unpacked: dict[str, Path]) -> Iterator[tuple[Source, bytes]]:
    """Yield the pictures, opening each resource collection once."""
    collections: dict[tuple[str, str], dict[str, Source]] = {}
    for source in selection.sources:
        if source.member:
            collections.setdefault((source.package, source.path), {})[source.member] = source
        else:
            yield source, _read(unpacked[source.package] / source.path)
    for (package, path), wanted in collections.items():
        for member, content in read_files(_read(unpacked[package] / path)):
            if member in wanted:
                yield wanted.pop(member), content
        if wanted:
            raise PhotoError(f"{package}: {path} lacks {sorted(wanted)}; check the version of the package")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotoError(f"cannot read {path}: {error.strerror}") from error


def _scaled_jpeg(content: bytes, long_side: int) -> tuple[bytes, int, int]:
    with Image.open(io.BytesIO(content)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    factor = long_side / max(image.size)
    if factor < 1:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue(), image.width, image.height


def _write(path: Path, content: bytes) -> None:
    """Write beside and rename, so that an interrupted run leaves no half photograph."""
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
