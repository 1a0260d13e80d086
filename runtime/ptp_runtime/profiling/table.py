"""A profile as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptp_runtime.profiling.percentiles import PERCENTILES
from ptp_runtime.profiling.stages import SIDES

_LAYERS_SHOWN = 5


def lines_of(document: Mapping[str, Any]) -> list[str]:
    """The whole report, line by line.

    Args:
        document: see :mod:`ptp_runtime.profiling.schema`.
    """
    return [
        *_head(document),
        "",
        *stage_table(document),
        "",
        *_verdicts(document),
        *_rivals(document),
        *_layers(document),
    ]


def _head(document: Mapping[str, Any]) -> list[str]:
    bundle, settings, machine = document["bundle"], document["settings"], document["machine"]
    photos = ", ".join(f"{photo['name']} {photo['width']}×{photo['height']}" for photo in document["photos"][:3])
    more = len(document["photos"]) - 3
    backend = settings["backend"]
    if settings["entropy_backend"] != backend:
        backend += f"; entropy path: {settings['entropy_backend']}"
    kept, windows = document["kept_windows"], len(document["windows"])
    state = (
        f"stable: the last {kept} of {windows} windows agree"
        if document["stable"]
        else f"NOT stable: {windows} windows, and the last ones disagree; the figures are of all of them"
    )
    return [
        f"task {bundle['task']}, rate {settings['rate']}, {photos}{f' and {more} more' if more > 0 else ''}",
        f"{backend} on {machine['processor']}, {machine['cores']} cores; Numba {settings['numba_threads']} threads",
        f"{document['runs']} runs a side; {state}",
    ]


def stage_table(document: Mapping[str, Any]) -> list[str]:
    """Milliseconds by stage; ``~`` stands before a percentile that so few runs cannot show."""
    names = list(PERCENTILES)
    head = ["milliseconds", *names, "mean", "share", "photos/s", "MP/s"]
    rows = [head]
    for total in document["totals"]:
        rows.append([total["name"], *_cells(total, names, document["resolved"]), "", *_speed(total)])
        for stage in document["stages"]:
            if stage["side"] == total["name"]:
                cells = _cells(stage, names, document["resolved"])
                rows.append([f"  {stage['stage']}", *cells, f"{stage['share']:.1%}", *_speed(stage)])
    return _aligned(rows)


def _cells(figures: Mapping[str, Any], names: Sequence[str], shown: Sequence[str]) -> list[str]:
    cells = [f"{'' if name in shown else '~'}{figures[name]:.2f}" for name in names]
    return [*cells, f"{figures['mean']:.2f}"]


def _speed(figures: Mapping[str, Any]) -> list[str]:
    photos, megapixels = figures["photos_per_second"], figures["megapixels_per_second"]
    return [f"{photos:.1f}", f"{megapixels:.1f}"] if photos < 1e5 else ["–", "–"]


def _verdicts(document: Mapping[str, Any]) -> list[str]:
    lines = [tail["sentence"] for tail in document["tails"]]
    cold = document["cold_start"]
    if cold is not None:
        ms = cold["milliseconds"]
        parts = ", ".join(f"{phase} {value:.0f}" for phase, value in ms.items())
        start = ms["interpreter"] + ms["import"] + ms["open"]
        lines.append(
            f"cold start: first stream {start + ms['first encode']:.0f} ms, first result"
            f" {start + ms['first decode']:.0f} ms after the start of a process (ms: {parts})"
        )
        peaks = cold["peak_bytes"]
        lines.append(
            "peak memory: "
            + ", ".join(
                f"{what} {peaks[phase] / 1e6:.0f} MB"
                for what, phase in (
                    ("opened", "open"),
                    ("sender", "second encode"),
                    ("receiver", "second decode"),
                )
            )
        )
    lines += [f"device memory: {name} {size / 1e6:.0f} MB at most" for name, size in device_memory(document)]
    return [*lines, "sensors: " + "; ".join(document["sensors"]["sentences"])]


def device_memory(document: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The most memory in use on each device, by everybody, at the ends of the windows."""
    return list(document["device_memory_bytes"].items())


def _rivals(document: Mapping[str, Any]) -> list[str]:
    lines = []
    for rival in document["rivals"]:
        lines += ["", f"against {rival['provider']}, in turn, in the same process:"]
        p50 = {total["name"]: total["p50"] for total in rival["totals"]}
        for name in (*SIDES, "both"):
            ratio = rival["ratios"][name]
            took = f", {p50[name]:.1f} ms" if name in p50 else ""
            label = "together" if name == "both" else name
            lines.append(
                f"  {label}: ours is {ratio['ratio']:.2f}× as fast"
                f" (95 % {ratio['low']:.2f} to {ratio['high']:.2f}){took}"
            )
        stages = {name: r for name, r in rival["ratios"].items() if "/" in name}
        parts = [f"{name} {ratio['ratio']:.2f}×" for name, ratio in stages.items() if "context" not in name]
        lines.append(f"  by stage: {', '.join(parts)}")
    return lines


def _layers(document: Mapping[str, Any]) -> list[str]:
    lines = []
    for graph, layers in document["layers"].items():
        total = sum(layer["milliseconds"] for layer in layers)
        lines += ["", f"layers of {graph}: {len(layers)}, {total:.2f} ms"]
        for layer in layers[:_LAYERS_SHOWN]:
            share = layer["milliseconds"] / total if total else 0.0
            lines.append(f"  {layer['milliseconds']:8.3f} ms {share:6.1%}  {layer['operator']:<14} {layer['name']}")
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]
