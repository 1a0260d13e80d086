"""An engine as the manifest lists it. One place, for bundles that are exported and for engines that are built again."""

from __future__ import annotations

import hashlib
from typing import Any

from ptp_export.engines.engine_from_onnx import Engine
from ptp_runtime.manifest import EngineEntry, ShapeRange


def engine_file(graph: str, target: str) -> str:
    """Path inside the bundle."""
    return f"engines/{graph}.{target}.plan"


def engine_entry(graph: str, role: str, precision: str, engine: Engine, stem: str = "") -> EngineEntry:
    """The manifest's entry.

    Args:
        graph, role, precision: of the graph that the engine stands for.
        engine: as built.
        stem: of the graph's file; empty: its name.
    """
    return EngineEntry(
        file=engine_file(stem or graph, engine.target.name),
        role=role,
        graph=graph,
        target=engine.target.name,
        precision=precision,
        sha256=hashlib.sha256(engine.data).hexdigest(),
        built_with=engine.version,
        devices=engine.devices,
        profile={name: ShapeRange(*shapes) for name, shapes in engine.profile.items()},
        proof=engine.proof.level,
        asked=engine.proof.asked,
        compatible=engine.compatible,
        stripped=engine.stripped,
    )


def engine_audit(engine: Engine) -> dict[str, Any]:
    """What was found out about an engine, for the manifest's ``audit``."""
    return {
        "bytes": len(engine.data),
        "build_seconds": round(engine.seconds, 3),
        "precision": None if engine.audit is None else engine.audit.to_dict(),
        "proof": engine.proof.to_dict(),
        "plan_smoke_check": engine.smoke.to_dict(),
    }
