"""A profile as one JSON document: figures, and the raw windows that they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ptp_runtime.backends import BackendChoice
from ptp_runtime.backends.protocol import LayerTime
from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import MANIFEST_NAME
from ptp_runtime.profiling.cold import ColdStart
from ptp_runtime.profiling.comparison import kept_times, ratios_of
from ptp_runtime.profiling.measure import Measurement, Photo, Run, Window
from ptp_runtime.profiling.percentiles import median, resolved, summary
from ptp_runtime.profiling.schema import FORMAT, VERSION
from ptp_runtime.profiling.sensor_sentences import sensor_sentences
from ptp_runtime.profiling.stages import SIDES, critical, in_order
from ptp_runtime.profiling.tails import tail
from ptp_runtime.profiling.windows import StabilityRule

OURS = "ours"
"""The subject that is profiled; every other is a rival."""


def profile_document(
    bundle: Bundle,
    measured: Measurement,
    photos: Sequence[Photo],
    rule: StabilityRule,
    *,
    choice: BackendChoice,
    rivals: Mapping[str, str],
    settings: Mapping[str, Any],
    machine: Mapping[str, Any],
    software: Mapping[str, str],
    cold: ColdStart | None,
    layers: Mapping[str, Sequence[LayerTime]],
) -> dict[str, Any]:
    """Everything that was found.

    Args:
        bundle: what was profiled.
        measured: the windows.
        photos, rule: what they were made with.
        choice: the backend.
        rivals: providers by subject.
        settings: ``threads``, ``numba_threads``, ``rate``, ``environment``, and whatever else was chosen.
        machine, software: from :mod:`ptp_runtime.profiling.machine`.
        cold: None: not measured.
        layers: by graph.
    """
    manifest = bundle.manifest
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "bundle": {
            "manifest_sha256": hashlib.sha256((bundle.path / MANIFEST_NAME).read_bytes()).hexdigest(),
            "task": manifest.task.name,
            "identity": manifest.entropy.identity,
            "mode": manifest.entropy.mode,
            "checkpoint_sha256": manifest.model.checkpoint_sha256,
            "precisions": {graph.name: graph.precision for graph in manifest.graphs},
        },
        "machine": dict(machine),
        "software": dict(software),
        "settings": {
            "backend": choice.backend.provider,
            "entropy_backend": choice.entropy.provider,
            "reason": choice.reason,
            **settings,
        },
        "photos": [
            {
                "name": photo.name,
                "height": photo.pixels.shape[0],
                "width": photo.pixels.shape[1],
                "sha256": hashlib.sha256(photo.pixels.tobytes()).hexdigest(),
                "stream_bytes": size,
            }
            for photo, size in zip(photos, measured.stream_bytes, strict=True)
        ],
        "rule": {"sentence": rule.sentence(), **asdict(rule)},
        "stable": measured.stable,
        "kept_windows": measured.kept,
    }
    pixels = [photo.pixels.shape[0] * photo.pixels.shape[1] for photo in photos]
    document["totals"], document["stages"] = _figures(measured, OURS, pixels)
    document["runs"] = document["totals"][0]["runs"]
    document["resolved"] = list(resolved(document["runs"]))
    document["tails"] = [_tail(measured, side) for side in SIDES]
    document["waterfalls"] = [fall for side in SIDES for fall in _waterfalls(measured, side)]
    document["cold_start"] = None if cold is None else asdict(cold)
    document["layers"] = {name: [asdict(layer) for layer in found] for name, found in layers.items()}
    document["device_memory_bytes"] = _device_memory(measured)
    document["sensors"] = {"before": _plain(asdict(measured.before)), "sentences": sensor_sentences(measured)}
    first_kept = len(measured.windows) - measured.kept
    document["windows"] = [_window(w, number >= first_kept) for number, w in enumerate(measured.windows)]
    document["rivals"] = [_rival(document, measured, name, provider, pixels) for name, provider in rivals.items()]
    return document


def _figures(
    measured: Measurement, subject: str, pixels: Sequence[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    totals, stages = [], []
    for side in SIDES:
        runs = measured.kept_runs(subject, side)
        whole = summary([run.total for run in runs])
        megapixels = sum(pixels[run.photo] for run in runs) / len(runs) / 1e6
        totals.append({"name": side, **whole, **_throughput(whole["mean"], megapixels)})
        for stage in in_order(name for run in runs for name in run.stages):
            figures = summary([run.stages.get(stage, 0.0) for run in runs])
            share = figures["mean"] / whole["mean"] if whole["mean"] else 0.0
            named = {"name": f"{side}/{stage}", "side": side, "stage": stage, "share": share}
            stages.append({**named, **figures, **_throughput(figures["mean"], megapixels)})
    return totals, stages


def _throughput(mean: float, megapixels: float) -> dict[str, float]:
    """One after another: what a stage could do if it had nothing to wait for."""
    a_second = 1e3 / max(mean, 1e-6)
    return {"photos_per_second": a_second, "megapixels_per_second": a_second * megapixels}


def _tail(measured: Measurement, side: str) -> dict[str, Any]:
    """Of the runs as if every photo took what the middle photo takes: the largest photo is no slow run."""
    runs = measured.kept_runs(OURS, side)
    names = in_order(name for run in runs for name in run.stages)
    totals = _centred(runs, [run.total for run in runs])
    stages = {name: _centred(runs, [run.stages.get(name, 0.0) for run in runs]) for name in names}
    found = tail(side, totals, _centred(runs, [run.cpu for run in runs]), stages)
    return {**asdict(found), "excess": dict(found.excess), "sentence": found.sentence()}


def _centred(runs: Sequence[Run], values: Sequence[float]) -> list[float]:
    by_photo: dict[int, list[float]] = {}
    for run, value in zip(runs, values, strict=True):
        by_photo.setdefault(run.photo, []).append(value)
    middle, whole = {photo: median(found) for photo, found in by_photo.items()}, median(values)
    return [value - middle[run.photo] + whole for run, value in zip(runs, values, strict=True)]


def _waterfalls(measured: Measurement, side: str) -> list[dict[str, Any]]:
    """The run in the middle, and the slowest, of the photo that takes longest."""
    runs = measured.kept_runs(OURS, side)
    longest = max({run.photo for run in runs}, key=lambda photo: median(r.total for r in runs if r.photo == photo))
    ordered = sorted((run for run in runs if run.photo == longest), key=lambda run: run.total)
    chosen = (("median", ordered[(len(ordered) - 1) // 2]), ("slowest", ordered[-1]))
    return [
        {
            "side": side,
            "which": which,
            "photo": run.photo,
            "total": run.total,
            "pieces": [
                {**asdict(piece), "critical": mark}
                for piece, mark in zip(run.pieces, critical(run.pieces), strict=True)
            ],
        }
        for which, run in chosen
    ]


def _window(window: Window, kept: bool) -> dict[str, Any]:
    return {
        "start": window.start,
        "kept": kept,
        "machine": _plain(asdict(window.machine)),
        "devices": [_plain(asdict(device)) for device in window.devices],
        "runs": {
            subject: {side: _columns(runs) for side, runs in sides.items()} for subject, sides in window.runs.items()
        },
    }


def _columns(runs: Sequence[Run]) -> dict[str, Any]:
    names = in_order(name for run in runs for name in run.stages)
    return {
        "photo": [run.photo for run in runs],
        "round": [run.round for run in runs],
        "start": [round(run.start, 6) for run in runs],
        "total": [round(run.total, 5) for run in runs],
        "cpu": [round(run.cpu, 5) for run in runs],
        "stages": {name: [round(run.stages.get(name, 0.0), 5) for run in runs] for name in names},
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _device_memory(measured: Measurement) -> dict[str, int]:
    found: dict[str, int] = {}
    for device in (device for window in measured.windows for device in window.devices):
        if device.memory_bytes is not None:
            found[device.name] = max(found.get(device.name, 0), device.memory_bytes)
    return found


def _rival(
    document: Mapping[str, Any], measured: Measurement, name: str, provider: str, pixels: Sequence[int]
) -> dict[str, Any]:
    totals, stages = _figures(measured, name, pixels)
    ours, theirs = kept_times(document, OURS), kept_times(document, name)
    common = [key for key in ours if key in theirs]
    whole, parts = ratios_of(ours, theirs, common, seed=0)
    return {
        "name": name,
        "provider": provider,
        "totals": totals,
        "stages": stages,
        "ratios": {one.name: {"ratio": one.ratio, "low": one.low, "high": one.high} for one in (*whole, *parts)},
    }
