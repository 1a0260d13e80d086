"""What became of every tensor of ``ptp import-checkpoint``, as lines and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ptp_model.importing.matching import Matching
from ptp_model.importing.names import part_of
from ptp_model.importing.sources import Source
from ptp_model.spec import ModelSpec

FORMAT = "ptp-import-report"
VERSION = 1


def as_json(spec: ModelSpec, sources: Sequence[Source], matching: Matching, statistics: str) -> dict[str, Any]:
    """Everything, whether it was refused or not.

    Args:
        statistics: where the feature's mean and standard deviation came from.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "refused": matching.refused,
        "spec": spec.to_dict(),
        "sources": [
            {
                "file": source.file,
                "sha256": source.sha256,
                "container": source.container,
                "tensors": len(source.tensors),
                "other_entries": dict(source.passed_over),
            }
            for source in sources
        ],
        "feature_statistics": statistics,
        "matched": list(matching.matched),
        "renamed": dict(matching.renamed),
        "missing": list(matching.missing),
        "allowed_missing": list(matching.allowed_missing),
        "constants": list(matching.constants),
        "left_over": list(matching.left_over),
        "ignored": list(matching.ignored),
        "passed_over": dict(matching.passed_over),
        "unfit": [
            {"target": item.target, "source": item.place, "expected": item.expected, "got": item.got}
            for item in matching.unfit
        ],
    }


def lines(sources: Sequence[Source], matching: Matching, verbose: bool) -> Iterator[str]:
    """Counts, a line a part of the checkpoint; with ``verbose`` every name too."""
    for source in sources:
        where = f" under {source.container}" if source.container else ""
        others = f"; not weights: {', '.join(source.passed_over)}" if source.passed_over else ""
        yield f"{source.file}: {len(source.tensors)} tensors{where}{others}"
    ours = Counter(part_of(name) for name in matching.matched)
    renamed = Counter(part_of(target) for targets in matching.renamed.values() for target in targets.split(", "))
    fresh = Counter(part_of(name) for name in matching.allowed_missing)
    constants = Counter(part_of(name) for name in matching.constants)
    missing = Counter(part_of(name) for name in matching.missing)
    for part in sorted(ours | renamed | fresh | constants | missing):
        extra = [f"{constants[part]} constants filled in"] if constants[part] else []
        extra += [f"{fresh[part]} kept fresh"] if fresh[part] else []
        tail = f" ({', '.join(extra)})" if extra else ""
        yield f"{part}: {ours[part]} matched, {renamed[part]} renamed, {missing[part]} missing{tail}"
    yield f"left over: {len(matching.left_over) + len(matching.ignored)}, of which ignored: {len(matching.ignored)}"
    for why, count in Counter(matching.passed_over.values()).items():
        yield f"passed over: {count} ({why})"
    if verbose:
        yield from _details(matching)


def _details(matching: Matching) -> Iterator[str]:
    yield from (f"  matched      {name}" for name in matching.matched)
    yield from (f"  renamed      {place} → {target}" for place, target in matching.renamed.items())
    yield from (f"  constant     {name}" for name in matching.constants)
    yield from (f"  kept fresh   {name}" for name in matching.allowed_missing)
    yield from (f"  missing      {name}" for name in matching.missing)
    yield from (f"  ignored      {place}" for place in matching.ignored)
    yield from (f"  left over    {place}" for place in matching.left_over)
    yield from (f"  passed over  {place}: {why}" for place, why in matching.passed_over.items())
    yield from (f"  does not fit {item}" for item in matching.unfit)
