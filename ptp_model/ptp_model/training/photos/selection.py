"""The explicit list of packages and photographs, and the split they belong to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from ptp_model.training.photos.debian import DebianPackage


@dataclass(frozen=True)
class Source:
    """Where one photograph lies.

    Attributes:
        name: file stem of the prepared photograph, unique in the selection.
        package: name of the Debian package.
        path: the file inside the package.
        member: the file inside a Qt resource collection at ``path``; empty when ``path`` is the picture itself.
        sha256: of the picture's bytes as the package has them.
        split: ``train``, ``held-out``, or ``unused`` (it ships for calibration). A photograph is wholly in one of them,
            and views of one scene share theirs.
    """

    name: str
    package: str
    path: str
    member: str
    sha256: str
    split: str


@dataclass(frozen=True)
class Selection:
    """All pinned packages and the photographs taken from them."""

    packages: tuple[DebianPackage, ...]
    sources: tuple[Source, ...]


def load() -> Selection:
    """Read ``selection.json`` beside this module."""
    text = resources.files("ptp_model.training.photos").joinpath("selection.json").read_text(encoding="utf-8")
    raw = json.loads(text)
    return Selection(
        packages=tuple(DebianPackage(**entry) for entry in raw["packages"]),
        sources=tuple(Source(**entry) for entry in raw["photos"]),
    )
