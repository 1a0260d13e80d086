"""Make the rows of ``split.json`` from what it governs: the selection, the labelled and the shipped photographs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ptp_model.training.data import is_held_out
from ptp_model.training.photos.selection import Selection
from ptp_model.training.split import FILE, TRAINING, Entry, Split, SplitError, sha256_of

#: Roles of the selection's splits. What is unused there ships for calibration.
ROLES_OF_SPLIT: Mapping[str, frozenset[str]] = {
    "train": frozenset({"stage1", "prompts"}),
    "held-out": frozenset({"evaluation"}),
    "unused": frozenset({"calibration"}),
}


def debian_entries(selection: Selection, prepared: Path) -> tuple[Entry, ...]:
    """Photographs of the selection; each has its source picture's digest and its prepared file's.

    Args:
        prepared: ``index.json`` of prepared photographs.

    Raises:
        SplitError: the index lacks a photograph of the selection.
    """
    rows = json.loads(prepared.read_text(encoding="utf-8"))["photos"]
    digests = {row["source"]["sha256"]: row["sha256"] for row in rows}
    missing = [source.name for source in selection.sources if source.sha256 not in digests]
    if missing:
        raise SplitError(f"{prepared.name}: lacks {len(missing)} photographs, the first is {missing[0]}; prepare again")
    return tuple(
        Entry(s.name, "debian", s.name, ROLES_OF_SPLIT[s.split], (s.sha256, digests[s.sha256]))
        for s in selection.sources
    )


def coco_entries(images: Path) -> tuple[Entry, ...]:
    """Labelled photographs, split by the rule on their ids.

    Args:
        images: folder of files named after their COCO id.
    """
    return tuple(
        Entry(
            path.stem,
            "coco-mini",
            path.stem,
            frozenset({"evaluation"}) if is_held_out(int(path.stem)) else TRAINING,
            (sha256_of(path),),
        )
        for path in sorted(images.glob("*.jpg"))
    )


def shipped_entries(listing: Path) -> tuple[Entry, ...]:
    """Photographs of the package, by their group.

    Args:
        listing: ``photos.json`` beside them.
    """
    rows = json.loads(listing.read_text(encoding="utf-8"))["photos"]
    return tuple(
        Entry(
            row["file"],
            "shipped",
            row["file"],
            frozenset({row["group"]}),
            tuple(dict.fromkeys((row["sha256"], row["source_sha256"]))),
        )
        for row in rows
    )


def with_scenes(entries: tuple[Entry, ...], earlier: Split) -> Split:
    """Give views of one scene the same scene.

    Scenes that somebody wrote into the earlier table stay; a file made of another entry's source takes its scene.
    """
    written = {(entry.origin, entry.name): entry.scene for entry in earlier.entries}
    scene_of_digest: dict[str, str] = {}
    out = []
    for entry in entries:
        scene = written.get((entry.origin, entry.name), entry.scene)
        scene = next((scene_of_digest[digest] for digest in entry.sha256 if digest in scene_of_digest), scene)
        scene_of_digest |= dict.fromkeys(entry.sha256, scene)
        out.append(Entry(entry.name, entry.origin, scene, entry.roles, entry.sha256))
    return Split(tuple(out))


def text_of(split: Split) -> str:
    """The file's text, one photograph a line."""
    rows = [
        json.dumps(
            {
                "name": entry.name,
                "origin": entry.origin,
                "scene": entry.scene,
                "roles": sorted(entry.roles),
                "sha256": list(entry.sha256),
            }
        )
        for entry in split.entries
    ]
    return '{"schema": 1, "photos": [\n ' + ",\n ".join(rows) + "\n]}\n"


def committed() -> Path:
    """Where the committed table lies."""
    return Path(__file__).with_name(FILE)
