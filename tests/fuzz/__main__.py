"""``python -m tests.fuzz``: damaged streams, bundles and photos by the thousand, counted by how each was refused.

Each input is damaged by a random number that follows from ``--seed`` and its own number, so that any of them can be
made again: a fault names both. One of ``--traced`` is read under tracemalloc and held to the bound that its target
computes from it; all of them are read under a limit of the address space, and a reader that takes longer than
``--hang`` seconds ends the run with a traceback.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import sys
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import click
from tests.fuzz.targets import TARGETS

from ptp_runtime.errors import PtpError

BATCH = 1000


@click.command()
@click.option("--target", "names", multiple=True, type=click.Choice(list(TARGETS)), help="Default: all.")
@click.option("--count", default=1000, show_default=True, help="Inputs of each target.")
@click.option("--seed", default=0, show_default=True)
@click.option("--traced", default=50, show_default=True, help="One of so many is read under tracemalloc.")
@click.option("--hang", default=20.0, show_default=True, help="Seconds after which a reader hangs.")
@click.option("--memory", default=4096, show_default=True, help="Address space beyond what is held at the start, MiB.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(
    names: tuple[str, ...],
    count: int,
    seed: int,
    traced: int,
    hang: float,
    memory: int,
    output: Path | None,
) -> None:
    """Fuzz the readers of foreign bytes."""
    warnings.simplefilter("ignore")
    results = {name: _run(name, count, seed, traced, hang, memory) for name in names or TARGETS}
    click.echo(json.dumps(results, indent=1))
    if output:
        output.write_text(json.dumps({"seed": seed, "targets": results}, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(result["faults"] for result in results.values()))


def _run(name: str, count: int, seed: int, traced: int, hang: float, memory: int) -> dict[str, Any]:
    target = TARGETS[name]()
    for sample in target.samples:
        _outcome(target, sample)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + (memory << 20), hard))
    outcomes: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    slowest, most, traced_count, began = 0.0, 0.0, 0, time.perf_counter()
    for number in range(count):
        chance = random.Random(f"{seed}/{name}/{number}")
        data = target.mutate(chance, chance.choice(target.samples))
        if number % BATCH == 0:
            faulthandler.dump_traceback_later(hang + BATCH * 0.05, exit=True)
        is_traced = number % traced == 0
        if is_traced:
            tracemalloc.start()
        start = time.perf_counter()
        outcome, fault = _outcome(target, data)
        seconds = time.perf_counter() - start
        if is_traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            traced_count += 1
            share = peak / target.bound(data)
            most = max(most, share)
            fault = fault or (f"{peak} bytes of memory, bound {target.bound(data)}" if share > 1 else "")
        fault = fault or (f"{seconds:.1f} s" if seconds > hang else "")
        slowest = max(slowest, seconds)
        outcomes[outcome] += 1
        if fault:
            faults.append({"number": number, "fault": fault, "input": data[:4096].hex()})
    faulthandler.cancel_dump_traceback_later()
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return {
        "inputs": count,
        "seconds": round(time.perf_counter() - began, 1),
        "slowest_ms": round(1e3 * slowest, 1),
        "traced": traced_count,
        "most_memory_of_bound": round(most, 3),
        "outcomes": dict(outcomes.most_common()),
        "faults": faults[:20],
    }


def _outcome(target: Any, data: bytes) -> tuple[str, str]:
    """How it ended, and what is wrong with that; nothing where nothing is."""
    try:
        target.read(data)
    except PtpError as error:
        return type(error).__name__, ""
    except Exception as error:  # noqa: BLE001 - what is looked for
        return type(error).__name__, f"{type(error).__name__}: {error}"
    return "read", ""


if __name__ == "__main__":
    main()
