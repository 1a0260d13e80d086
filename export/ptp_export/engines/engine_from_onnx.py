"""Engine from ONNX: one subprocess, one log, one command that repeats it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_export.engines import worker
from ptp_export.engines.network_audit import precision_by_node, require_exact, require_fp32
from ptp_export.engines.plan_text import PlanText, plan_text
from ptp_export.engines.targets import Target
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.onnx_passes.widen_int16 import WidenInt16
from ptp_export.precision.audit import PrecisionAudit
from ptp_export.sizes import SizeRange
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
        devices: compute capabilities asked for; empty means the builder's default list.
        seconds: of the build alone.
        audit: of the builder's network; None for an FP32 graph.
        smoke: what the plan's bytes suggest.
        log: the builder's log.
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

    Raises:
        MissingExtraError: the builder is not installed.
        StageFailedError: the build failed or ran out of time; the hint is the command that repeats it.
        PrecisionNotMetError: the network does not compute in what the graph asks for.
    """
    target.version()
    stem = f"{graph.name}.{target.name}"
    paths = {kind: folder / f"{stem}.{kind}" for kind in ("onnx", "plan", "request.json", "report.json", "log")}
    paths["onnx"].write_bytes(WidenInt16()(graph.model).SerializeToString(deterministic=True))
    profile = _profile(graph, sizes)
    request = {
        "module": target.module,
        "onnx": str(paths["onnx"]),
        "plan": str(paths["plan"]),
        "report": str(paths["report.json"]),
        "profile": profile,
        "compute_capabilities": list(devices),
    }
    paths["request.json"].write_text(json.dumps(request, indent=1), encoding="utf-8")
    for stale in (paths["plan"], paths["report.json"]):
        stale.unlink(missing_ok=True)
    command = [sys.executable, "-m", "ptp_export.engines.worker", str(paths["request.json"])]
    problem = _run(paths["request.json"], paths["log"], timeout_s)
    report = _report(paths["report.json"])
    if problem or "error" in report or not paths["plan"].is_file():
        raise StageFailedError(
            f"building the {target.name} engine of {graph.name!r} failed",
            got=report.get("error") or problem or "no engine",
            hint=f"read {paths['log']}; repeat it with: {shlex.join(command)}",
        )
    if graph.role == "entropy":
        require_exact(graph.name, report)
    if audit is None:
        require_fp32(graph.name, report["layers"])
        engine_audit = None
    else:
        engine_audit = audit.with_engine(precision_by_node(report["layers"]))
        engine_audit.require_met(graph.name, allow_partial=allow_partial)
    data = paths["plan"].read_bytes()
    for product in (paths["plan"], paths["onnx"], paths["report.json"]):
        product.unlink()
    return Engine(
        data=data,
        target=target,
        version=report["version"],
        profile=profile,
        devices=devices,
        seconds=report["seconds"],
        audit=engine_audit,
        smoke=plan_text(data),
        log=paths["log"],
    )


def _profile(graph: OnnxGraph, sizes: SizeRange) -> dict[str, Shapes]:
    """Smallest, typical and largest shape of every input."""
    bindings = [size.bindings() for size in (sizes.smallest, sizes.typical, sizes.largest)]
    return {
        spec.name: tuple(tuple(int(dim) for dim in spec.bind(values)) for values in bindings)  # type: ignore[misc]
        for spec in graph.inputs
    }


def _run(request: Path, log: Path, timeout_s: float) -> str:
    """Run the worker; its output goes to the log. Returns what went wrong, or an empty string."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own file with our own request
            [sys.executable, str(Path(worker.__file__)), str(request)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return f"no result after {timeout_s:g} s"
        finally:
            _end(process)
    if code < 0:
        return f"the builder was ended by {signal.Signals(-code).name}"
    return "" if code == 0 else _last_line(log) or f"exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the worker and what it started; it is the leader of a session of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _report(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    return report if isinstance(report, dict) else {}


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""
