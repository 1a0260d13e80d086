"""Engine from ONNX: one subprocess, one log, one command that repeats it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_export.engines.choices import BuildChoices
from ptp_export.engines.device_here import DeviceHere, device_here
from ptp_export.engines.engine_cache import EngineCache, cache_key
from ptp_export.engines.file_audit import audit_of_file, products_of
from ptp_export.engines.network_audit import precision_by_node, require_exact, require_fp32
from ptp_export.engines.plan_text import PlanText, plan_text
from ptp_export.engines.proof import PrecisionProof, proof_of_engine, require_level
from ptp_export.engines.targets import Target
from ptp_export.engines.worker_process import ProgressCall, run_worker
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.onnx_passes.widen_int16 import WidenInt16
from ptp_export.precision.audit import PrecisionAudit
from ptp_export.sizes import SizeRange
from ptp_runtime.atomic import write_bytes
from ptp_runtime.errors import StageFailedError

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Engine:
    """A built engine.

    Attributes:
        data: the plan.
        target: what it was built for.
        version: of the builder.
        profile: input → smallest, typical and largest shape it takes.
        devices: compute capabilities asked for, or the one of the device that it was built on; empty means the
            builder's default list.
        seconds: of the build alone, also where it was done earlier.
        audit: of the builder's network; None for an FP32 graph.
        smoke: what the plan's bytes suggest.
        log: the builder's log.
        proof: how far its precision is proved.
        compatible: see :class:`~ptp_export.engines.choices.BuildChoices`.
        stripped: it holds no weights.
        cached: it was found, not built.
    """

    data: bytes
    target: Target
    version: str
    profile: Mapping[str, Shapes]
    devices: tuple[str, ...]
    seconds: float
    audit: PrecisionAudit | None
    smoke: PlanText
    log: Path
    proof: PrecisionProof
    compatible: tuple[str, ...] = ()
    stripped: bool = False
    cached: bool = False


def _told_nobody(share: float, phase: str) -> None:
    """Progress that nobody asked for."""


def engine_from_onnx(
    graph: OnnxGraph,
    target: Target,
    sizes: SizeRange,
    folder: Path,
    *,
    audit: PrecisionAudit | None,
    allow_partial: bool,
    devices: tuple[str, ...],
    timeout_s: float,
    choices: BuildChoices = BuildChoices(),  # noqa: B008 - frozen
    told: ProgressCall = _told_nobody,
    profile: Mapping[str, Shapes] | None = None,
) -> Engine:
    """Build an engine for one graph.

    Args:
        graph: FP32 or converted.
        target: the builder.
        sizes: photo sizes for the optimisation profile.
        folder: existing folder for the source, request, report and log of this build; kept.
        audit: of the conversion to FP16; None for an FP32 graph.
        allow_partial: accept layers that the builder's network computes in FP32 without a named exclusion.
        devices: compute capabilities such as ``"8.9"``; empty for the builder's default.
        timeout_s: seconds after which the build is ended.

        choices: portability, weights, proof and cache.
        told: the share that is done, from 0 to 1, and what is being done.
        profile: the shapes themselves, in place of those that follow from ``sizes``.

    Raises:
        MissingExtraError: the builder is not installed.
        UsageError: the builder has nothing of the kind that was chosen.
        StageFailedError: the build failed or ran out of time; the hint is the command that repeats it.
        PrecisionNotMetError: the network or the engine does not compute in what the graph asks for, or the proof that
            was demanded is not to be had here.
    """
    version = target.version()
    choices.require_possible(target)
    stripped = choices.strip_weights and graph.role != "entropy"
    source = WidenInt16()(graph.model).SerializeToString(deterministic=True)
    profile = _profile(graph, sizes) if profile is None else profile
    facts = {
        "module": target.module,
        "profile": profile,
        "compute_capabilities": list(devices),
        "compatible": sorted(choices.compatible),
        "strip_weights": stripped,
    }
    here = device_here()
    key = cache_key(
        facts | {"version": version, "onnx_sha256": hashlib.sha256(source).hexdigest(), "device": here.name}
    )
    cache = None if choices.cache is None else EngineCache(choices.cache)
    log = folder / f"{graph.name}.{target.name}.log"
    found = None if cache is None else cache.find(key)
    if found is None:
        timing = "" if cache is None or not target.timing_cache else str(_timing_file(cache, target, version, here))
        wants_device = not here.name and (stripped or "version" in choices.compatible)
        advice = "this builder may need a GPU for what was chosen; " if wants_device else ""
        request = facts | {"timing_cache": timing}
        data, report = _built(graph.name, target, source, request, folder, timeout_s, told, advice)
    else:
        data, report = found
        log.write_text(f"the engine {key} of {choices.cache}; it was not built again\n", encoding="utf-8")
    if graph.role == "entropy":
        require_exact(graph.name, report)
    typical = {name: shapes[1] for name, shapes in profile.items()}
    graph_audit = products_of(audit_of_file(graph, typical)) if audit is None else audit
    network_audit = graph_audit.with_engine(precision_by_node(report["layers"]))
    if audit is None:
        require_fp32(graph.name, report["layers"])
    else:
        network_audit.require_met(graph.name, allow_partial=allow_partial)
    if not here.name:
        report = report | {"not_inspected": "there is no NVIDIA device here"}
    proof = proof_of_engine(graph.name, graph_audit, network_audit, report, allow_partial=allow_partial)
    require_level(graph.name, proof, choices.require_proof)
    if found is None and cache is not None:
        cache.keep(key, data, report)
    return Engine(
        data=data,
        target=target,
        version=report["version"],
        profile=profile,
        devices=devices or ((here.capability,) if target.for_its_device and here.capability else ()),
        seconds=report["seconds"],
        audit=None if audit is None else network_audit,
        smoke=plan_text(data),
        log=log,
        proof=proof,
        compatible=choices.compatible,
        stripped=stripped,
        cached=found is not None,
    )


def _built(
    name: str,
    target: Target,
    source: bytes,
    facts: Mapping[str, Any],
    folder: Path,
    timeout_s: float,
    told: ProgressCall,
    advice: str,
) -> tuple[bytes, dict[str, Any]]:
    """The plan and the report of one build. The source stays behind where the build failed, to repeat it with."""
    stem = f"{name}.{target.name}"
    paths = {kind: folder / f"{stem}.{kind}" for kind in ("onnx", "plan", "request.json", "report.json", "log")}
    products = [paths[kind] for kind in ("plan", "report.json")]
    files = {kind: str(paths[file]) for kind, file in (("onnx", "onnx"), ("plan", "plan"), ("report", "report.json"))}
    for stale in products:
        stale.unlink(missing_ok=True)
    write_bytes(paths["onnx"], source)
    write_bytes(paths["request.json"], json.dumps(dict(facts) | files, indent=1).encode())
    try:
        problem = run_worker(paths["request.json"], paths["log"], timeout_s, told)
    except BaseException:
        # Cancelled: nobody asked to have it repeated.
        for file in (paths["onnx"], paths["request.json"], *products):
            file.unlink(missing_ok=True)
        raise
    report = _report(paths["report.json"])
    if problem or "error" in report or not paths["plan"].is_file():
        paths["plan"].unlink(missing_ok=True)
        command = [sys.executable, "-m", "ptp_export.engines.worker", str(paths["request.json"])]
        raise StageFailedError(
            f"building the {target.name} engine of {name!r} failed",
            got=report.get("error") or problem or "no engine",
            hint=f"{advice}read {paths['log']}; repeat it with: {shlex.join(command)}",
        )
    data = paths["plan"].read_bytes()
    for product in (*products, paths["onnx"]):
        product.unlink()
    return data, report


def _timing_file(cache: EngineCache, target: Target, version: str, here: DeviceHere) -> Path:
    """Measurements of kernels are good for one version on one kind of device."""
    name = re.sub(r"[^\w.]+", "-", f"{target.module}-{version}-{here.name}").strip("-")
    folder = cache.folder / ".timing"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.cache"


def _profile(graph: OnnxGraph, sizes: SizeRange) -> dict[str, Shapes]:
    """Smallest, typical and largest shape of every input."""
    bindings = [size.bindings() for size in (sizes.smallest, sizes.typical, sizes.largest)]
    return {
        spec.name: tuple(tuple(int(dim) for dim in spec.bind(values)) for values in bindings)  # type: ignore[misc]
        for spec in graph.inputs
    }


def _report(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    return report if isinstance(report, dict) else {}
