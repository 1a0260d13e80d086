"""The part of ``docs/results.md`` about the entropy coder, from ``results/coder.json`` (see ``coder.py``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = Callable[[list[str], list[list[str]]], str]

_CLOCKS = {"wall": "by the wall's clock", "cpu": "of the processor, beside other work"}
_HEAD = ["coder", "encode ms", "decode ms", "bytes", "over ideal"]


def coder_section(document: dict[str, Any], table: Table, environment: str) -> str:
    """Markdown of the section.

    Args:
        document: of ``coder.json``.
        table: makes a table of a head and rows.
        environment: the sentence about what it was measured on.
    """
    setting, parts = document["setting"], [document["set_a"], *document["others"], *document["latents"]]
    start = document["cold_start_ms"]
    cores = "; ".join(
        f"{name}: encode {gain['encode']:.2f}×, decode {gain['decode']:.2f}×"
        for name, gain in document["two_cores"].items()
    )
    first, kernels, face = (start[name]["wall"] for name in ("first decode", "all kernels", "import ptp_runtime"))
    clock, rounds, calls = _CLOCKS[setting["clock"]], setting["rounds"], setting["calls"]
    return f"""## The entropy coder

All coders in one process, one thread, in turn; milliseconds {clock}, medians over {rounds} rounds, in each
the fastest of {calls} calls. *Ours* is the whole work from arrays to the bytes of a stream with header, CRC and hash.
*Flow* is step by step from arrays to arrays; the other rows are each coder's best case, one call with everything
prepared. Ratios are to the fastest variant of each rival. *Over ideal* is against the Gaussians' own information.

{chr(10).join(_part(part, table) for part in parts)}
A batch of {setting["images"]} images on two threads, against one: {cores}.

A fresh process with the kernels in Numba's cache decodes its first stream after {first:.0f} ms; all kernels take
{kernels:.0f} ms of it, `import ptp_runtime` {face:.0f} ms.

{environment}

    python benchmarks/coder.py BUNDLE --json benchmarks/results/coder.json
"""


def _part(part: dict[str, Any], table: Table) -> str:
    size = part["set"]
    rows = [
        [
            row["coder"],
            f"{row['encode_ms']:.2f}",
            f"{row['decode_ms']:.2f}",
            str(row["bytes"]),
            f"{row['overhead']:+.2%}",
        ]
        for row in sorted(part["coders"], key=lambda row: (row["flow"], row["decode_ms"]))
    ]
    lines = [
        f"Ours is faster, {title}: " + "; ".join(f"{way} {_ratios(found)}" for way, found in part[kind].items()) + "."
        for kind, title in (("ratios", "best case"), ("flow_ratios", "flow"))
        if kind in part
    ]
    counts = f"{size['symbols']:,} symbols, {size['coded']:,} coded, {size['zeros']:.0%} zeros, {size['steps']} steps"
    return f"""**{part["name"]}** ({counts}):

{table(_HEAD, rows)}

{" ".join(lines)}
"""


def _ratios(found: dict[str, float]) -> str:
    return ", ".join(f"{ratio:.1f}× {name}" for name, ratio in found.items())
