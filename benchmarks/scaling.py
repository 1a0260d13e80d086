"""How time and memory grow with the photo, from 128² to 4096², with the exponents; one plot.

    python benchmarks/scaling.py BUNDLE [--json FILE] [--plot FILE]

Each size runs in a fresh process, so that its peak of resident memory is its own; what an opened session holds before
the first photo is given apart and taken off. Times are medians after one run to warm up. The exponent is the slope of
log(quantity) over log(pixels) by least squares over the sizes from 512² on, where fixed costs no longer count.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from environment import environment

SIDES = (128, 256, 512, 1024, 2048, 4096)
FIT_FROM = 512
_CHILD = """
import json, statistics, sys, time
import numpy as np
from ptp_runtime import Session

def resident(key):
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return int(line.split()[1]) / 1024

bundle, side, runs, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
session = Session.open(bundle, backend="cpu", threads=threads)
y, x = np.mgrid[0:side, 0:side]
waves = 127 + 60 * np.sin(x / 9) * np.cos(y / 13) + 40 * np.sin((x + y) / 41)
noise = np.random.default_rng(0).normal(0, 8, (side, side, 3))
picture = np.clip(waves[..., None] + noise, 0, 255).astype(np.uint8)
held = resident("VmRSS")
encode, decode, stages = [], [], []
for number in range(runs + 1):
    start = time.perf_counter()
    coded = session.encode_detailed(picture, keep_steps=False)
    middle = time.perf_counter()
    decoded = session.decode_detailed(coded.data, keep_steps=False)
    end = time.perf_counter()
    if number:
        encode.append(1e3 * (middle - start))
        decode.append(1e3 * (end - middle))
        stages.append({f"encode {k}": v for k, v in coded.milliseconds.items()}
                      | {f"decode {k}": v for k, v in decoded.milliseconds.items()})
print(json.dumps({
    "side": side, "bytes": len(coded.data), "held_mb": held, "peak_mb": resident("VmHWM"),
    "encode_ms": statistics.median(encode), "decode_ms": statistics.median(decode),
    "stages_ms": {k: statistics.median(s[k] for s in stages) for k in stages[0]},
}))
"""


def measured(bundle: Path, side: int, threads: int) -> dict[str, Any]:
    """One size in a process of its own."""
    runs = max(2, min(9, 4096 // side))
    command = [sys.executable, "-c", _CHILD, str(bundle), str(side), str(runs), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout)
    return row | {"runs": runs, "memory_mb": row["peak_mb"] - row["held_mb"]}


def exponent(rows: list[dict[str, Any]], value: str) -> float:
    """Slope over the number of pixels: 1 is proportional to the photo's area."""
    chosen = [row for row in rows if row["side"] >= FIT_FROM]
    slope, _ = np.polyfit(
        [2 * math.log(row["side"]) for row in chosen], [math.log(max(row[value], 1e-3)) for row in chosen], 1
    )
    return float(slope)


def plot(document: dict[str, Any], file: Path) -> None:
    """Two panels, both logarithmic: milliseconds, and memory beyond the opened session."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows, exponents = document["sizes"], document["exponents"]
    pixels = [row["side"] ** 2 for row in rows]
    figure, (times, memory) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for key, colour, label in (("encode_ms", "#c8102e", "encode"), ("decode_ms", "#1f5fa8", "decode")):
        times.loglog(
            pixels, [row[key] for row in rows], "o-", color=colour, label=f"{label}: pixels^{exponents[key]:.2f}"
        )
    memory.loglog(
        pixels,
        [row["memory_mb"] for row in rows],
        "o-",
        color="#3b7d4f",
        label=f"peak beyond the session: pixels^{exponents['memory_mb']:.2f}",
    )
    memory.axhline(statistics.median(row["held_mb"] for row in rows), color="#777", ls="--", label="the opened session")
    for axes, title, unit in ((times, "Time of one photo", "milliseconds"), (memory, "Resident memory", "MB")):
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.set_xlabel("photo")
        axes.set_xticks(pixels, [f"{row['side']}²" for row in rows])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(file, dpi=110)


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--threads", default=2, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Needs matplotlib.")
def main(bundle: Path, threads: int, output: Path | None, picture: Path | None) -> None:
    rows = []
    for side in SIDES:
        rows.append(measured(bundle, side, threads))
        print({key: value for key, value in rows[-1].items() if key != "stages_ms"}, flush=True)
    document = {
        "environment": environment(),
        "setting": {"threads": threads, "fit_from": FIT_FROM},
        "sizes": rows,
        "exponents": {name: exponent(rows, name) for name in ("encode_ms", "decode_ms", "memory_mb")},
    }
    print(document["exponents"])
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if picture:
        plot(document, picture)


if __name__ == "__main__":
    main()
