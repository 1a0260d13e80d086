"""Task × precision × builder: build seconds, size, proof of the precision, worst error, bits, metric, latency (CPU).

    python benchmarks/engines.py BUNDLE... [--data FOLDER]... [--cls-data FOLDER]... [--build-only BUNDLE]...

Each bundle's engines are built for every builder that is installed, into a copy, without the engine cache.
Errors and disagreement come from ``ptp verify`` on the shipped parity photographs, run by ONNX Runtime on the CPU: no
engine runs without a GPU. What a precision costs in bits and in the task's figure is taken on the held-out photographs
of ``--data``, each weighed against the same photograph through the FP32 bundle. Latencies of all bundles of a task are
taken in turn in one process; each is the median of the rounds. A bundle after ``--build-only`` (random weights, say) is
built and audited and nothing else.
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
from ptp_export.evaluation.curves.bootstrap import draws, mean_estimate
from ptp_export.evaluation.evaluate import Harness
from ptp_export.evaluation.measures import measure_of
from ptp_export.evaluation.photo_list import gather
from ptp_export.evaluation.reference import Judge
from ptp_export.oracle.checkpoint_task import load_task
from ptp_export.photos import demo_photo
from ptp_export.stages import SilentWatcher
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import MissingExtraError
from ptp_runtime.manifest import Manifest
from ptp_runtime.session import Session

ROUNDS = 9
SEED = 0
SIZE = (768, 512)


def _precision(manifest: Manifest) -> str:
    """What was asked for beyond the entropy path: ``fp32``, ``fp16``, ``int8``, ``int8+fp16``, with ``best`` or not."""
    audits = [manifest.audit["graphs"][graph.name].get("precision") for graph in manifest.graphs]
    # Audits that were written before there was INT8 are of FP16.
    found = {name for audit in audits if audit is not None for name in audit.get("arithmetic", ("fp16",))}
    words = "+".join(name for name in ("int8", "fp16") if name in found) or "fp32"
    return f"{words}, best" if "best" in manifest.audit.get("calibration", {}) else words


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


class _Silent:
    """Watches nothing."""

    def advanced(self, photo: str, codec: str) -> None:
        """Ignored."""


def weighed(bundles: dict[str, Path], task: str, folders: list[Path]) -> dict[str, dict[str, Any]]:
    """Bits and figures of all precisions of a task on held-out photographs, against the FP32 bundle's."""
    teacher = load_task("demo", task).chain.teacher
    if teacher is None or not folders or "fp32" not in bundles:
        return {}
    photos = gather(folders, task, True, None).photos
    judge = Judge(teacher)
    measure = measure_of(task, judge.classes)
    counts = draws(len(photos), SEED)
    found: dict[str, dict[str, Any]] = {}
    lost: dict[str, Any] = {}
    for name in sorted(bundles, key=lambda name: name != "fp32"):
        with Session.open(bundles[name], backend="cpu") as session:
            harness = Harness(session, (session.default_rate,), (), judge, measure)
            result = harness.run(photos, SEED, _Silent())
        (point,) = result.points
        sizes, fidelity = np.array(result.sizes[point.setting]), 100 * np.array(result.fidelity[point.setting])
        if name == "fp32":
            lost = {"sizes": sizes, "fidelity": fidelity, "figures": point.figures}
        loss = mean_estimate(lost["fidelity"] - fidelity, counts)
        found[name] = {
            "photos": len(photos),
            "bpp": point.bpp.value,
            "bits": float(sizes.sum() / lost["sizes"].sum() - 1),
            "feature_error": point.feature_error.value,
            "figures": {figure: estimate.value for figure, estimate in point.figures.items()},
            "loss": {
                figure: 100 * (lost["figures"][figure].value - estimate.value)
                for figure, estimate in point.figures.items()
            },
            "fidelity": measure.fidelity,
            "words": dict(measure.words),
            "photo_loss": {"value": loss.value, "low": loss.low, "high": loss.high},
        }
        print(task, name, found[name]["bits"], found[name]["loss"])
    return found


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
@click.option("--data", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--cls-data",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Further photographs for the classifier, whose 224 × 224 are quickly done.",
)
@click.option("--build-only", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(
    bundles: tuple[Path, ...],
    data: tuple[Path, ...],
    cls_data: tuple[Path, ...],
    build_only: tuple[Path, ...],
    output: Path | None,
) -> None:
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
            "held_out": None,
            "best": manifest.audit.get("calibration", {}).get("best"),
        }
        if path not in build_only:
            by_task.setdefault(row["task"], {})[row["precision"]] = path
        rows.append(row)
        print(json.dumps(row))
    for task, of_task in by_task.items():
        folders = [*data, *(cls_data if task == "cls" else ())]
        measured, costs = latencies(of_task), weighed(of_task, task, folders)
        for row in rows:
            if row["task"] == task and row["verified"] is not None:
                row["milliseconds"] = measured[row["precision"]]
                row["held_out"] = costs.get(row["precision"])
        print(task, measured)
    document = {"environment": environment("tensorrt"), "rounds": ROUNDS, "size": list(SIZE), "bundles": rows}
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
