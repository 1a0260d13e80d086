"""Which photograph may be used for what: one committed table, ``split.json``, by the SHA-256 of the files.

A photograph that something is judged by (``evaluation``, ``parity``) or calibrated with (``calibration``) is never
learned from; nor is another view of its scene. The table holds every photograph that this project names; one that it
does not hold is the user's own and may be used for anything. ``python -m ptp_model.training.split`` checks it and
writes it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ptp_model.errors import ModelError

FILE = "split.json"

#: Roles of photographs that are learned from: the codec's, the teachers' heads' and the prompts'.
TRAINING = frozenset({"stage1", "heads", "prompts"})
#: Roles of photographs that nothing may learn from.
RESERVED = frozenset({"calibration", "parity", "evaluation"})
ORIGINS = ("debian", "coco-mini", "shipped")

_HASH_BLOCK_BYTES = 1 << 20


class SplitError(ModelError):
    """A table that contradicts itself, or a photograph that must not be trained on."""


@dataclass(frozen=True)
class Entry:
    """One photograph.

    Attributes:
        name: unique within its origin: the stem of the prepared or COCO file, or a shipped file's name.
        origin: ``debian``, ``coco-mini`` or ``shipped``.
        scene: views of one scene share it; the name of the first of them.
        roles: from :data:`TRAINING` or :data:`RESERVED`.
        sha256: of its files, hexadecimal: the source picture's and that of the file made of it, where they differ.
    """

    name: str
    origin: str
    scene: str
    roles: frozenset[str]
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """The whole table."""

    entries: tuple[Entry, ...]

    def roles_of(self, digest: str) -> frozenset[str]:
        """Roles of a file by its SHA-256; none for a file that the table does not hold."""
        found = [entry.roles for entry in self.entries if digest in entry.sha256]
        return frozenset().union(*found)

    def named(self, origin: str, role: str) -> frozenset[str]:
        """Names of all photographs of an origin with a role."""
        return frozenset(entry.name for entry in self.entries if entry.origin == origin and role in entry.roles)

    def overlaps(self) -> tuple[str, ...]:
        """A sentence for every file and every scene that is both learned from and reserved; empty when all is well."""
        groups: dict[str, set[str]] = {}
        for entry in self.entries:
            for key in (*(f"file {digest}" for digest in entry.sha256), f"scene {entry.scene}"):
                groups.setdefault(key, set()).update(entry.roles)
        return tuple(
            f"{key} is for {', '.join(sorted(roles & TRAINING))} and for {', '.join(sorted(roles & RESERVED))}"
            for key, roles in sorted(groups.items())
            if roles & TRAINING and roles & RESERVED
        )


@cache
def load() -> Split:
    """The committed table.

    Raises:
        SplitError: it is malformed or contradicts itself.
    """
    return parse(resources.files(__name__).joinpath(FILE).read_text(encoding="utf-8"))


def parse(text: str) -> Split:
    """The table of a file's text.

    Raises:
        SplitError: it is malformed, or a photograph is both learned from and reserved.
    """
    try:
        split = Split(tuple(_entry(row) for row in json.loads(text)["photos"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SplitError(
            f"{FILE}: expected rows of name, origin, scene, roles and sha256; got {type(error).__name__} at {error}; "
            "write it anew with python -m ptp_model.training.split"
        ) from error
    overlaps = split.overlaps()
    if overlaps:
        raise SplitError(f"{FILE}: {overlaps[0]}, and {len(overlaps) - 1} more; a photograph is one or the other")
    return split


def _entry(row: dict[str, Any]) -> Entry:
    roles = frozenset(str(role) for role in row["roles"])
    if not roles or roles - TRAINING - RESERVED or row["origin"] not in ORIGINS:
        raise ValueError(f"{row['name']}: {row['origin']}, {sorted(roles)}")
    return Entry(str(row["name"]), str(row["origin"]), str(row["scene"]), roles, tuple(map(str, row["sha256"])))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def reserved_among(paths: Sequence[Path], split: Split) -> Iterator[tuple[Path, frozenset[str]]]:
    """Those of the files that nothing may learn from, with their reserved roles."""
    reserved = {
        digest: entry.roles & RESERVED for entry in split.entries if entry.roles & RESERVED for digest in entry.sha256
    }
    with ThreadPoolExecutor() as pool:
        for path, digest in zip(paths, pool.map(sha256_of, paths), strict=True):
            if digest in reserved:
                yield path, split.roles_of(digest) & RESERVED


def refuse_reserved(paths: Iterable[Path]) -> None:
    """What every training command does first with the photographs that it was given.

    Raises:
        SplitError: one of them is for evaluation, parity or calibration.
    """
    found = list(reserved_among(list(paths), load()))
    if found:
        path, roles = found[0]
        more = f", and so are {len(found) - 1} more" if len(found) > 1 else ""
        raise SplitError(
            f"{path}: expected a photograph to learn from; this one is for {' and '.join(sorted(roles))}{more}; "
            "take it out of the folder, or give the folder train/ of the prepared photographs"
        )
