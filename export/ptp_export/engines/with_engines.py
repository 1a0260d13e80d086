"""A finished graph with the engines that an export asks for."""

from __future__ import annotations

from ptp_export.bundle.writer import FinishedGraph
from ptp_export.engines.engine_from_onnx import Engine, engine_from_onnx
from ptp_export.engines.targets import engine_target
from ptp_export.entropy.golden import covering_golden
from ptp_export.options import ExportOptions
from ptp_export.sizes import SizeRange
from ptp_export.stages import Stages


def with_engines(graph: FinishedGraph, options: ExportOptions, profile: SizeRange, stages: Stages) -> FinishedGraph:
    """Build an engine for each target; the stages are named and timed.

    Raises:
        PtpError: as :func:`~ptp_export.engines.engine_from_onnx.engine_from_onnx`.
    """
    engines: list[Engine] = []
    for name in options.engine_targets:
        with stages.stage(f"{graph.name}: {name}", options.command(graph.name)):
            options.log_folder.mkdir(parents=True, exist_ok=True)
            engines.append(
                engine_from_onnx(
                    graph.onnx,
                    engine_target(name),
                    covering_golden(profile) if graph.onnx.integer else profile,
                    options.log_folder,
                    audit=graph.audit,
                    allow_partial=options.allow_partial,
                    devices=options.devices,
                    timeout_s=options.build_timeout_s,
                    choices=options.choices,
                    told=stages.watcher.advanced,
                )
            )
    return FinishedGraph(graph.onnx, graph.audit, tuple(engines))
