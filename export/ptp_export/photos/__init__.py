"""Real photographs that ship with the package, in two disjoint groups.

``calibration`` photographs may set ranges and scales; ``parity`` photographs only ever measure. A figure measured on a
photograph that also chose the ranges would flatter itself, so no photograph is in both groups. No parity photograph is
in the training list of ``ptp_model.training.photos`` either; two calibration photographs (dogs, dandelions) are.
Authors, licences and what was changed are in ``photos.json`` and, for people, in ``LICENSES.md``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from ptp_runtime.errors import AlteredFileError, MissingFileError

__all__ = ["Group", "Photo", "demo_photo", "photos"]

Group = Literal["calibration", "parity"]

_FOLDER = Path(str(resources.files("ptp_export.photos")))
_INDEX = "photos.json"


@dataclass(frozen=True)
class Photo:
    """One shipped photograph.

    Attributes:
        path: the JPEG on this machine.
        group: ``calibration`` or ``parity``.
        shows: what a person sees on it.
        width: pixels.
        height: pixels.
        sha256: of the file.
        author: who took it.
        licence: SPDX name, or ``public domain``.
        source: package and file it was taken from.
    """

    path: Path
    group: Group
    shows: str
    width: int
    height: int
    sha256: str
    author: str
    licence: str
    source: str


def photos(group: Group) -> tuple[Photo, ...]:
    """Return the photographs of one group, verified against their hashes, in the index's order.

    Raises:
        MissingFileError: a photograph is not in the installed package.
        AlteredFileError: a photograph's bytes are not the shipped ones.
    """
    return tuple(_checked(photo) for photo in _index() if photo.group == group)


def demo_photo() -> Photo:
    """Return the photograph that the demo and the README show.

    Raises:
        MissingFileError: it is not in the installed package.
        AlteredFileError: its bytes are not the shipped ones.
    """
    name = json.loads((_FOLDER / _INDEX).read_text(encoding="utf-8"))["demo"]
    return next(_checked(photo) for photo in _index() if photo.path.name == name)


def _index() -> tuple[Photo, ...]:
    entries = json.loads((_FOLDER / _INDEX).read_text(encoding="utf-8"))["photos"]
    return tuple(
        Photo(
            path=_FOLDER / entry["file"],
            group=entry["group"],
            shows=entry["shows"],
            width=entry["width"],
            height=entry["height"],
            sha256=entry["sha256"],
            author=entry["author"],
            licence=entry["licence"],
            source=entry["source"],
        )
        for entry in entries
    )


def _checked(photo: Photo) -> Photo:
    hint = "reinstall the package"
    if not photo.path.is_file():
        raise MissingFileError(
            "A shipped photograph is missing", expected=str(photo.path), got="no such file", hint=hint
        )
    digest = hashlib.sha256(photo.path.read_bytes()).hexdigest()
    if digest != photo.sha256:
        raise AlteredFileError(
            f"The shipped photograph {photo.path.name} was altered",
            expected=f"SHA-256 {photo.sha256}",
            got=digest,
            hint=hint,
        )
    return photo
