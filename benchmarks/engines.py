"""Task × precision × builder: build seconds, size, proof of the precision, worst error, bytes, latency on the CPU.

    python benchmarks/engines.py BUNDLE... [--build-only BUNDLE]... [--json FILE]

Each bundle's engines are built for every builder that is installed, into a copy, without the engine cache.
Errors, bytes and disagreement come from ``ptp verify`` on the shipped parity photographs, run by ONNX Runtime
on the CPU: no engine runs without a GPU. Latencies of all bundles of a task are taken in turn in one process;
each is the median of the rounds. A bundle after ``--build-only`` (random weights, say) is built and audited and
nothing else.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
from environment import environment
from PIL import Image

from ptp_export.engines.choices import BuildChoices
from ptp_export.engines.rebuild import RebuildRequest, rebuild_engines
from ptp_export.engines.targets import ENGINE_TARGETS
from ptp_export.photos import demo_photo
from ptp_export.stages import SilentWatcher
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import MissingExtraError
from ptp_runtime.manifest import Manifest
from ptp_runtime.session import Session

ROUNDS = 9
SIZE = (768, 512)


def _precision(manifest: Manifest) -> str:
    """``int8`` before ``fp16`` before ``fp32``: what was asked for beyond the entropy path."""
    found = {graph.precision for graph in manifest.graphs if graph.role != "entropy"}
    return next(name for name in ("int8", "fp16", "fp32") if name in found)


def _installed() -> list[str]:
    names = []
    for name, target in ENGINE_TARGETS.items():
        try:
            target.version()
        except MissingExtraError as error:
            print(f"{name}: {error.message}")
        else:
            names.append(name)
    return names


def built(bundle: Path, target: str) -> dict[str, Any]:
    """Build all engines of a bundle for one target."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "bundle"
        shutil.copytree(bundle, copy)
        request = RebuildRequest((target,), True, (), BuildChoices(cache=None), Path(folder) / "log")
        rebuild_engines(copy, request, SilentWatcher())
        manifest = Bundle.open(copy).manifest
    engines = [engine for engine in manifest.engines if engine.target == target]
    audits = [manifest.audit["engines"][engine.file] for engine in engines]
    proofs = {engine.graph: audit["proof"] for engine, audit in zip(engines, audits, strict=True)}
    converted = [graph.name for graph in manifest.graphs if graph.role != "entropy"]
    return {
        "target": target,
        "built_with": engines[0].built_with,
        "engines": len(engines),
        "build_seconds": round(sum(audit["build_seconds"] for audit in audits), 3),
        "slowest_seconds": max(audit["build_seconds"] for audit in audits),
        "bytes": sum(audit["bytes"] for audit in audits),
        "levels": dict(Counter(engine.proof for engine in engines)),
        "missing": sorted({proof["missing"] for proof in proofs.values() if proof["missing"]}),
        "shares": {name: proofs[name]["shares"] for name in converted},
    }


def verified(bundle: Path) -> dict[str, Any]:
    """Errors of the graphs and of the whole chain against PyTorch."""
    program = Path(sys.executable).with_name("ptp")
    done = subprocess.run([program, "verify", bundle, "--json"], capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        raise SystemExit(done.stderr)
    report = json.loads(done.stdout)
    worst = {graph["name"]: graph["worst"] for graph in report["graphs"] if graph["role"] != "entropy"}
    return {
        "passed": report["passed"],
        "worst": worst,
        "photos": len(report["chain"]),
        "size_bytes": sum(photo["size_bytes"] for photo in report["chain"]),
        "disagreement": statistics.mean(photo["disagreement"] for photo in report["chain"]),
    }


def latencies(bundles: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Milliseconds to encode and to decode one photograph, the bundles in turn."""
    with Image.open(demo_photo().path) as image:
        photo = np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC))
    sessions = {name: Session.open(path, backend="cpu") for name, path in bundles.items()}
    times: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in sessions}
    for number in range(ROUNDS + 1):
        for name, session in sessions.items():
            encoded = session.encode_detailed(photo, keep_steps=False)
            decoded = session.decode_detailed(encoded.data, keep_steps=False)
            if number:  # the first warms up
                times[name]["encode"].append(sum(encoded.milliseconds.values()))
                times[name]["decode"].append(sum(decoded.milliseconds.values()))
    for session in sessions.values():
        session.close()
    return {name: {what: round(statistics.median(all_), 2) for what, all_ in of.items()} for name, of in times.items()}


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--build-only", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(bundles: tuple[Path, ...], build_only: tuple[Path, ...], output: Path | None) -> None:
    targets = _installed()
    rows: list[dict[str, Any]] = []
    by_task: dict[str, dict[str, Path]] = {}
    for path in (*bundles, *build_only):
        manifest = Bundle.open(path).manifest
        row: dict[str, Any] = {
            "task": manifest.task.name,
            "precision": _precision(manifest),
            "preset": manifest.model.spec["preset"],
            "entropy": manifest.entropy.mode,
            "onnx_bytes": sum(manifest.audit["graphs"][graph.name]["onnx_bytes"] for graph in manifest.graphs),
            "builds": [built(path, target) for target in targets],
            "verified": None if path in build_only else verified(path),
            "milliseconds": None,
        }
        if path not in build_only:
            by_task.setdefault(row["task"], {})[row["precision"]] = path
        rows.append(row)
        print(json.dumps(row))
    for task, of_task in by_task.items():
        measured = latencies(of_task)
        for row in rows:
            if row["task"] == task and row["verified"] is not None:
                row["milliseconds"] = measured[row["precision"]]
        print(task, measured)
    document = {"environment": environment("tensorrt"), "rounds": ROUNDS, "size": list(SIZE), "bundles": rows}
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
