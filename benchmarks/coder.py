"""The entropy coder against torch-ans, constriction and compressai: milliseconds, ratios and sizes.

    python benchmarks/coder.py [BUNDLE] [--json FILE]

All coders run in this process, round by round in turn, on one thread. In each round a coder is called CALLS times in a
row and the fastest call counts; a figure is the median over the rounds, a ratio the median of the rounds' ratios. Ours
is always whole: from arrays to the bytes of a stream with header, CRC and hash, and back. ``coder_rivals.py`` says
what the rivals' best case and flow are, ``coder_data.py`` what is coded. With a bundle (``ptp-export --task seg -o
BUNDLE``) latents of the shipped parity photographs stand beside the synthetic set. Where other programs run, ``--clock
cpu`` counts this thread's own time instead of the wall's.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import coder_data
import numpy as np
from coder_data import SKIP_INDEX, TABLES, Sample, Step
from coder_rivals import Rival, installed, planes_agree, rivals
from cold_start import cold_start
from environment import environment

from ptp_export.photos import photos
from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import StreamDecoder, StreamEncoder
from ptp_runtime.coder.kernel_choice import Kernels, use_vectors

OURS = "ours"
IMAGES = 8
"""Images of a batch, for the gain of a second core."""
CORE_SCALES = (1, 3)
"""Sides of those images, in set A's. Threads hand the interpreter's lock on after every step, which takes about as long
as a step of a small image."""
CALLS = 5
"""Calls in a row: after other coders have run, the first one finds nothing of its own in the caches."""
Z = np.zeros((0, 1, 1), np.int16)


def encoded(steps: tuple[Step, ...], kernels: Kernels = Kernels.AUTO) -> bytes:
    """Our stream of these steps."""
    header = StreamHeader(
        identity=b"cdr0", task=0, width=512, height=768, steps=len(steps), skip_index=SKIP_INDEX, step_checks=False
    )
    encoder = StreamEncoder(TABLES, header, kernels)
    encoder.z_step(Z)
    for step in steps:
        encoder.step(step.symbols, step.indexes, step.first_channel, step.parity)
    return encoder.finish()


def decoded(
    data: bytes, steps: tuple[Step, ...], out: list[Any] | None = None, kernels: Kernels = Kernels.AUTO
) -> list[Any]:
    """The symbols of our stream; only the steps' indices are looked at. ``out``: where to put them."""
    decoder = StreamDecoder(data, TABLES, kernels=kernels)
    decoder.z_step(1, 1)
    places = out if out is not None else [None] * len(steps)
    got = [
        decoder.step(step.indexes, step.first_channel, step.parity, place)
        for step, place in zip(steps, places, strict=True)
    ]
    decoder.finish()
    return got


def ours(name: str, steps: tuple[Step, ...], *, flow: bool, kernels: Kernels = Kernels.AUTO) -> Rival:
    """Our coder as one of the coders; its buffers are bound once."""
    out = [np.zeros(step.symbols.shape, np.int16) for step in steps]
    return Rival(
        name,
        OURS,
        flow,
        lambda: encoded(steps, kernels),
        lambda data: decoded(data, steps, out, kernels),
        len,
        lambda got: planes_agree(steps, got),
    )


Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.thread_time}


def milliseconds(function: Callable[[], Any], clock: Clock) -> tuple[float, Any]:
    start = clock()
    result = function()
    return 1e3 * (clock() - start), result


def fastest(function: Callable[[], Any], clock: Clock) -> tuple[float, Any]:
    calls = [milliseconds(function, clock) for _ in range(CALLS)]
    return min(taken for taken, _ in calls), calls[-1][1]


def measured(coders: list[Rival], rounds: int, clock: Clock) -> dict[str, dict[str, Any]]:
    """For each coder the times of all rounds and the size; wrong symbols end the run."""
    found: dict[str, dict[str, Any]] = {coder.name: {"encode": [], "decode": []} for coder in coders}
    gc.collect()
    gc.disable()
    for number in range(rounds + 1):
        for coder in coders:
            encode, data = fastest(coder.encode, clock)
            decode, symbols = fastest(lambda coder=coder, data=data: coder.decode(data), clock)
            if number == 0:  # the first round warms up
                if not coder.check(symbols):
                    raise SystemExit(f"{coder.name} does not give the symbols back")
                found[coder.name]["bytes"] = coder.size(data)
                continue
            found[coder.name]["encode"].append(encode)
            found[coder.name]["decode"].append(decode)
    gc.enable()
    return found


def ratios(times: dict[str, dict[str, Any]], coders: list[Rival], mine: str, way: str) -> dict[str, float]:
    """How many times as long as ours (``mine``) the fastest variant of each family takes."""
    found: dict[str, float] = {}
    for coder in coders:
        if coder.family != OURS:
            pairs = zip(times[coder.name][way], times[mine][way], strict=True)
            ratio = statistics.median(theirs / our for theirs, our in pairs)
            found[coder.family] = min(ratio, found.get(coder.family, ratio))
    return found


def compared(sample: Sample, rounds: int, clock: Clock) -> dict[str, Any]:
    """All coders on one set: best cases and flows."""
    best, missing = rivals(sample.steps)
    best.append(ours("ours", (sample.whole,), flow=False))
    best.append(ours("ours, scalar kernels", (sample.whole,), flow=False, kernels=Kernels.SCALAR))
    if len(sample.steps) > 1:
        best.append(ours("ours, flow", sample.steps, flow=True))
    else:
        best = [coder for coder in best if not coder.flow]
    times = measured(best, rounds, clock)
    ideal = coder_data.ideal_bytes(sample.steps)
    rows = [
        {
            "coder": coder.name,
            "flow": coder.flow,
            "encode_ms": statistics.median(times[coder.name]["encode"]),
            "decode_ms": statistics.median(times[coder.name]["decode"]),
            "bytes": times[coder.name]["bytes"],
            "overhead": times[coder.name]["bytes"] / ideal - 1,
        }
        for coder in best
    ]
    result = {"name": sample.name, "set": coder_data.describe(sample.steps), "missing": missing, "coders": rows}
    at_best, in_flow = ([coder for coder in best if coder.flow is flow] for flow in (False, True))
    result["ratios"] = {way: ratios(times, at_best, "ours", way) for way in ("decode", "encode")}
    if in_flow:
        result["flow_ratios"] = {way: ratios(times, in_flow, "ours, flow", way) for way in ("decode", "encode")}
    return result


def two_cores(steps: tuple[Step, ...], rounds: int) -> dict[str, float]:
    """How many times as fast a batch of images is on two threads as on one, by direction."""
    data, half = encoded(steps), IMAGES // 2

    def encode_half(_: int) -> None:
        for _ in range(half):
            encoded(steps)

    def decode_half(_: int) -> None:
        out = [np.zeros(step.symbols.shape, np.int16) for step in steps]
        for _ in range(half):
            decoded(data, steps, out)

    gains: dict[str, list[float]] = {"encode": [], "decode": []}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            for way, work in (("encode", encode_half), ("decode", decode_half)):
                alone, _ = milliseconds(lambda work=work: [work(0), work(1)], time.perf_counter)
                together, _ = milliseconds(lambda work=work: list(pool.map(work, (0, 1))), time.perf_counter)
                gains[way].append(alone / together)
    return {way: statistics.median(values) for way, values in gains.items()}


def table(result: dict[str, Any]) -> str:
    """The result of one set, for people."""
    size = result["set"]
    lines = [
        f"{result['name']}: {size['symbols']:,} symbols, {size['coded']:,} coded, {size['zeros']:.0%} zeros, "
        f"{size['steps']} steps, ideal {size['ideal_bytes']:.0f} bytes",
        f"  {'':28} {'encode ms':>10} {'decode ms':>10} {'bytes':>8} {'over ideal':>11}",
    ]
    lines += [
        f"  {row['coder']:28} {row['encode_ms']:10.2f} {row['decode_ms']:10.2f} {row['bytes']:8d}"
        f" {row['overhead']:+11.2%}"
        for row in sorted(result["coders"], key=lambda row: (row["flow"], row["decode_ms"]))
    ]
    for kind, title in (("ratios", "best case"), ("flow_ratios", "flow")):
        for way, found in result.get(kind, {}).items():
            pairs = ", ".join(f"{name} {ratio:.1f}×" for name, ratio in found.items())
            lines.append(f"  {title}, {way}: ours is faster than {pairs or 'nothing that is installed'}")
    if result["missing"]:
        lines.append(f"  not installed: {', '.join(result['missing'])}")
    return "\n".join(lines)


@click.command()
@click.argument("bundle", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=31, show_default=True, help="Rounds on set A; other sets take a third.")
@click.option("--clock", type=click.Choice(sorted(CLOCKS)), default="wall", show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(bundle: Path | None, rounds: int, clock: str, output: Path | None) -> None:
    if installed("torch"):
        import torch

        torch.set_num_threads(1)
    fewer = max(1, rounds // 3)
    sample = coder_data.set_a()
    main_result = compared(sample, rounds, CLOCKS[clock])
    print(table(main_result), flush=True)
    others = [compared(coder_data.coded_only(sample), fewer, CLOCKS[clock])]
    print(table(others[0]), flush=True)
    latents = []
    for photo in photos("parity") if bundle else ():
        latents.append(compared(coder_data.demo_latents(bundle, photo.path), fewer, CLOCKS[clock]))
        print(table(latents[-1]), flush=True)
    cores = {}
    for scale in CORE_SCALES:
        large = coder_data.set_a(scale)
        cores[f"{large.name}, best case"] = two_cores((large.whole,), fewer)
        cores[f"{large.name}, flow"] = two_cores(large.steps, fewer)
    start = cold_start()
    for name, taken in start.items():
        print(f"fresh process, {name}: {taken['wall']:.0f} ms, {taken['cpu']:.0f} ms of the processor")
    for kind, gain in cores.items():
        print(f"two cores, {kind}: encode {gain['encode']:.2f}×, decode {gain['decode']:.2f}×")
    if output:
        overhead = next(row["overhead"] for row in main_result["coders"] if row["coder"] == OURS)
        document = {
            "environment": environment("llvmlite", "constriction", "torch-ans"),
            "setting": {
                "rounds": rounds,
                "clock": clock,
                "bundle": coder_data.checkpoint_of(bundle) if bundle else None,
                "vectors": use_vectors(Kernels.AUTO),
                "calls": CALLS,
                "images": IMAGES,
            },
            "ratios": main_result["ratios"],
            "flow_ratios": main_result["flow_ratios"],
            "overhead": overhead,
            "two_cores": cores,
            "cold_start_ms": start,
            "set_a": main_result,
            "others": others,
            "latents": latents,
        }
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
