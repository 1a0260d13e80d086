"""The part of ``docs/results.md`` about ``ptp interop``, from ``results/interop.json`` (see ``interop.py``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = Callable[[list[str], list[list[str]]], str]


def interop_section(document: dict[str, Any], table: Table, environment: str) -> str:
    """Markdown of the section.

    Args:
        document: of ``interop.json``.
        table: makes a table of a head and rows.
        environment: the sentence about what it was measured on.
    """
    bundles = document["bundles"]
    large = max(bundle["symbols"] for bundle in bundles)
    compared = [bundle for bundle in bundles if bundle["symbols"] > large / 5]
    widest = bundles[0]
    return f"""## Streams of every backend, decoded by every backend

Each configuration encodes latents of real photographs, and every distinct stream is decoded by each configuration;
each scale index and each mean is compared. A stream that several encoders write byte for byte alike is decoded once a
decoder and counted once. A decoder that differs is held in step, so that *differ* counts the places where two machines
compute another number and not the noise behind the first of them; *broken* are decodings with such a place, *noticed*
those that an ordinary decoder ends with an error (in a float path, a mean that differs by a sixteenth and moves no
index is borne with).

{table(_BUNDLE_HEAD, [_bundle_row(bundle) for bundle in bundles])}

{_photos(widest)}

{table(_configuration_head(compared), _configuration_rows(compared))}

*differ* counts the symbols of a decoder in the decodings of all encoders' streams. Speed is that of the entropy graphs
alone, the median over decodings of all sizes, among the other configurations; the numpy oracle gets small latents only.

{_engines(bundles)}{_absent(widest)}

{environment}

    python benchmarks/interop.py INTEGER_BUNDLE FLOAT_BUNDLE --with tests/golden/streams/zigzag/bundle \\
        --json benchmarks/results/interop.json
"""


_BUNDLE_HEAD = [
    "entropy path",
    "context",
    "symbols compared",
    "differ",
    "indices",
    "means",
    "a million",
    "equal cells",
    "decodings",
    "broken",
    "noticed",
]


def _bundle_row(bundle: dict[str, Any]) -> list[str]:
    return [
        f"**{bundle['mode']}** ({bundle['bundle']})",
        bundle["context"],
        f"{bundle['symbols']:,}",
        f"**{bundle['differences']:,}**",
        f"{bundle['index_differences']:,}",
        f"{bundle['mean_differences']:,}",
        f"{1e6 * bundle['differences'] / bundle['symbols']:.2f}" if bundle["differences"] else "0",
        f"{bundle['equal_cells']} of {bundle['cells']}",
        f"{bundle['decodings']:,}",
        f"{bundle['broken_decodings']:,}",
        f"{bundle['noticed_decodings']:,}",
    ]


def _photos(bundle: dict[str, Any]) -> str:
    return (
        f"First row: {bundle['items']} pieces of {bundle['photos']} photographs, {bundle['sizes']} sizes,"
        f" {bundle['rates']} rates; {bundle['photos_from']}."
    )


def _configuration_head(bundles: list[dict[str, Any]]) -> list[str]:
    head = ["configuration", "what ran"]
    for bundle in bundles:
        head += [f"symbols/s, {bundle['mode']}", "differ"]
    return head


def _configuration_rows(bundles: list[dict[str, Any]]) -> list[list[str]]:
    by_name = [{one["name"]: one for one in bundle["configurations"]} for bundle in bundles]
    rows = []
    for name in dict.fromkeys(name for found in by_name for name in found):
        present = [found.get(name) for found in by_name]
        row = [name, next(one["provider"] for one in present if one)]
        for one in present:
            row += [f"{one['symbols_per_second']:,.0f}", f"{one['differences_as_decoder']:,}"] if one else ["–", "–"]
        rows.append(row)
    return rows


def _engines(bundles: list[dict[str, Any]]) -> str:
    built = [
        f"{build['provider']}, {build['graphs']} graphs of {bundle['bundle']} in {build['seconds']:.0f} s"
        for bundle in bundles
        for build in bundle["builds"]
        if build["graphs"] and not build["problem"]
    ]
    return f"Built and not run, there being no GPU: {'; '.join(built)}.\n" if built else ""


def _absent(bundle: dict[str, Any]) -> str:
    reasons: dict[str, list[str]] = {}
    for one in bundle["absent"]:
        reason = f"the same as {one['same_as']}" if one["same_as"] else one["reason"]
        reasons.setdefault(reason, []).append(one["name"])
    lines = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    return f"Not compared: {lines}." if lines else "Every configuration took part."
