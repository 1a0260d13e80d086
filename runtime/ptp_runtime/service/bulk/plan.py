"""What is to be done, shard by shard, and whether a destination was begun with the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import UsageError
from ptp_runtime.service.bulk.formats import require_names
from ptp_runtime.service.bulk.sources import Photo
from ptp_runtime.trust import manifest_digest

OPERATIONS = ("encode", "infer")
FORMATS = ("files", "webdataset", "parquet")

_WORDS = {
    "operation": "another operation",
    "bundle": "another bundle",
    "task": "another task",
    "rate": "another rate",
    "convert": "another --convert",
    "format": "another --format",
    "shard_size": "another --shard-size",
    "photos": "other photos",
}


@dataclass(frozen=True)
class Choices:
    """What decides about the results' bytes.

    Attributes:
        operation: one of :data:`OPERATIONS`.
        task: of the bundle.
        rate: of the streams; None: the bundle's default.
        convert: see :func:`ptp_runtime.load_image`.
        format: one of :data:`FORMATS`.
        shard_size: photos in one shard.
    """

    operation: str
    task: str
    rate: int | None
    convert: bool
    format: str
    shard_size: int

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS or self.format not in FORMATS or self.shard_size < 1:
            raise UsageError(
                "a run cannot be like this",
                expected=f"{' or '.join(OPERATIONS)}, {' or '.join(FORMATS)}, shards of at least 1 photo",
                got=f"{self.operation}, {self.format}, {self.shard_size}",
            )


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        choices: what decides about the bytes.
        photos: all of them, sorted by key.
        identity: what the destination remembers of choices, bundle and photos.
    """

    choices: Choices
    photos: Sequence[Photo]
    identity: Mapping[str, Any]

    @classmethod
    def of(cls, bundle: Bundle, choices: Choices, photos: Sequence[Photo]) -> Plan:
        """The plan for a bundle.

        Raises:
            UsageError: every photo would fail with these choices, or two results would have the same name.
        """
        _require_possible(bundle, choices)
        require_names(photos, choices.format)
        if choices.rate is None:
            # Whoever goes on with the default by its number asks for the same.
            rates = bundle.manifest.entropy.rates
            choices = replace(choices, rate=0 if rates is None else rates.default)
        digest = hashlib.sha256()
        for photo in photos:
            digest.update(f"{photo.key}\0{photo.size}\0".encode("utf-8", "surrogateescape"))
        identity = {
            **asdict(choices),
            "bundle": manifest_digest(bundle),
            "photos": {"count": len(photos), "keys_and_sizes": digest.hexdigest()},
        }
        return cls(choices, photos, identity)

    @property
    def shards(self) -> int:
        """How many."""
        return -(-len(self.photos) // self.choices.shard_size)

    def shard(self, number: int) -> Sequence[Photo]:
        """The photos of a shard."""
        size = self.choices.shard_size
        return self.photos[number * size : (number + 1) * size]

    def require_same(self, found: Mapping[str, Any], where: str) -> None:
        """Refuse a destination that was begun with something else.

        Raises:
            UsageError: naming what differs.
        """
        differing = [name for name in self.identity if found.get(name) != self.identity[name]]
        if differing:
            raise UsageError(
                f"{where} was begun with {', '.join(_WORDS[name] for name in differing)}",
                expected=_shown(found, differing),
                got=_shown(self.identity, differing),
                hint="choose another destination, or ask for the same again",
            )


def _require_possible(bundle: Bundle, choices: Choices) -> None:
    """What no photo could satisfy is said once, not of each photo."""
    rates = 1 if bundle.manifest.entropy.rates is None else bundle.manifest.entropy.rates.count
    if choices.rate is not None and not 0 <= choices.rate < rates:
        raise UsageError(
            f"the bundle has no rate {choices.rate}",
            expected="no rate: it has one only" if rates == 1 else f"0 (fewest bits) to {rates - 1}",
            hint="ptp inspect shows the rates of a bundle",
        )
    needed = {"encode": ("encoder", "both"), "infer": ("both",)}[choices.operation]
    if bundle.manifest.side not in needed:
        raise UsageError(
            f"this bundle is the {bundle.manifest.side}'s side of one: it cannot {choices.operation}",
            expected="the whole bundle" + (", or the encoder's side" if choices.operation == "encode" else ""),
            got=str(bundle.path),
            hint="see ptp split",
        )


def _shown(identity: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {json.dumps(identity.get(name))}" for name in names)
