"""The part of ``docs/results.md`` about the whole chain: rivals, growth with the photograph, batches, cold start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = Callable[[list[str], list[list[str]]], str]


def latency_section(
    end_to_end: dict[str, Any],
    passive: dict[str, Any],
    scaling: dict[str, Any],
    batches: dict[str, Any],
    table: Table,
    environment: str,
) -> str:
    """Markdown of the section.

    Args:
        end_to_end, scaling, batches: documents of the benchmarks of these names.
        passive: the first once more, with OMP_WAIT_POLICY=PASSIVE.
        table: makes a table of a head and rows.
        environment: the sentence about what the first was measured on.
    """
    width, height = end_to_end["setting"]["size"]
    rivals = []
    for name, row in end_to_end["milliseconds"].items():
        ratios = end_to_end["ratios"].get(name)
        cells = [name]
        for side in ("encode", "decode", "together"):
            cells += [f"{row[side]:.0f}", f"{ratios[side]:.2f}×" if ratios else "–"]
        rivals.append([*cells, str(row["rounds"])])
    grown = [
        [
            f"{row['side']}²",
            f"{row['encode_ms']:.0f}",
            f"{row['decode_ms']:.0f}",
            f"{row['held_mb']:.0f}",
            f"{row['memory_mb']:.0f}",
        ]
        for row in scaling["sizes"]
    ]
    exponents = scaling["exponents"]
    rates = [
        [name, str(row["threads"]), f"{row['encode_per_s']:.2f}", f"{row['decode_per_s']:.2f}"]
        for name, row in batches["settings"].items()
    ]
    one, two = (batches["settings"][f"throughput, {n}"] for n in ("1 worker", "2 workers"))
    gains = " and ".join(
        f"{two[f'{side}_per_s'] / one[f'{side}_per_s']:.2f}× ({side})" for side in ("encode", "decode")
    )
    least, ours = end_to_end["floor"], end_to_end["milliseconds"]["ours"]
    share = ours["together"] / (least["encode"] + least["decode"])
    needed = end_to_end["milliseconds"]["PyTorch eager"]["together"] / 2 / (least["encode"] + least["decode"])
    begun = ", ".join(f"{name} after {ms / 1e3:.2f} s" for name, ms in batches["fresh_process_ms"].items())
    return f"""## The whole chain

Milliseconds of one photograph of {width} × {height}, task {end_to_end["setting"]["task"]}, {end_to_end["setting"]["threads"]} threads,
all in turn in one process, medians; ratios are to ours. *PyTorch eager* is our own model with our own coder. CompressAI's
codecs have random weights (time does not depend on them) and code pixels for people: what a task network takes to look at
theirs ({end_to_end["teacher"]:.0f} ms) is not in their figures, while our decode ends with the task's answer. Ours has graphs in
{end_to_end["setting"]["precision"].upper()}. OMP_WAIT_POLICY is {end_to_end["omp_wait_policy"]}, which is
PyTorch's best case on a machine that does nothing else. With PASSIVE, so that its threads sleep between operators and leave
the cores to others, eager takes {passive["milliseconds"]["PyTorch eager"]["together"]:.0f} ms and ours {passive["milliseconds"]["ours"]["together"]:.0f}: {passive["ratios"]["PyTorch eager"]["together"]:.2f}× (encode {passive["ratios"]["PyTorch eager"]["encode"]:.2f}×, decode {passive["ratios"]["PyTorch eager"]["decode"]:.2f}×).

{table(["", "encode", "ratio", "decode", "ratio", "together", "ratio", "rounds"], rivals)}

The graphs hold {sum(least["gmac"].values()):.1f} billion multiply-accumulates ({", ".join(f"{name} {count:.1f}" for name, count in least["gmac"].items() if count >= 1)}). At the rate of a large
matrix product here, {least["gmac_per_s"]:.0f} billion a second, an encode would take {least["encode"]:.0f} ms and a decode {least["decode"]:.0f}: ours takes
{share:.2f}× of that floor. The aim, twice as fast as eager at its best, would be {needed:.2f}× of it, which OpenVINO with the same graphs does not reach
either ([latency.md](latency.md)).

How time and memory grow, a fresh process a size; memory is the peak beyond the opened session. Exponents over the number of
pixels, from {scaling["setting"]["fit_from"]}² on: encode {exponents["encode_ms"]:.2f}, decode {exponents["decode_ms"]:.2f}, memory
{exponents["memory_mb"]:.2f} (1 is proportional).

![Time and memory from 128² to 4096²](images/scaling.png)

{table(["photo", "encode ms", "decode ms", "session MB", "beyond it MB"], grown)}

Photographs of {width} × {height} a second, in batches of {batches["photos"]}; two workers are {gains} of one:

{table(["profile", "threads", "encode", "decode"], rates)}

A fresh process, with the cache of kernels filled (`ptp doctor --prime`): {begun}.

{environment}

    env -u OMP_WAIT_POLICY python benchmarks/end_to_end.py BUNDLE --int8 INT8-BUNDLE --rounds 9 --slow-rounds 1 --json benchmarks/results/end_to_end.json
    OMP_WAIT_POLICY=PASSIVE python benchmarks/end_to_end.py BUNDLE --int8 INT8-BUNDLE --rounds 7 --slow-rounds 1 --json benchmarks/results/end_to_end_passive.json
    python benchmarks/scaling.py BUNDLE --json benchmarks/results/scaling.json --plot docs/images/scaling.png
    python benchmarks/batches.py BUNDLE --rounds {batches["rounds"]} --json benchmarks/results/batches.json
"""
