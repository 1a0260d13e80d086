"""The export, stage by stage: checkpoint → graphs → ONNX, integers → (ranges → FP16) → engines → tables → bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_calibration import PhotoSet, Ranges, measure_ranges
from ptp_calibration.integer_path import IntegerPathError
from ptp_export.bundle.tables_from_model import tables_from_model
from ptp_export.bundle.task_info import declared_resize
from ptp_export.bundle.writer import BundleContent, FinishedGraph, write_bundle
from ptp_export.coded_sizes import coded_sizes
from ptp_export.engines.engine_from_onnx import Engine, engine_from_onnx
from ptp_export.engines.targets import engine_target
from ptp_export.entropy.calibration_latents import calibration_latents
from ptp_export.entropy.golden import covering_golden
from ptp_export.entropy.integer_export import IntegerExport, integer_export
from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.graphs.interface import Graph
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.options import ExportOptions
from ptp_export.oracle.checkpoint_task import CheckpointTask, load_task
from ptp_export.oracle.graph_sample import GraphSample
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.oracle.photo_sizes import fit_photo, resized_photo
from ptp_export.precision.audit import PrecisionAudit
from ptp_export.precision.fp16 import fp16_from_fp32
from ptp_export.sizes import Size, SizeRange
from ptp_export.stages import Stages, StageWatcher
from ptp_runtime.errors import StageFailedError, UsageError
from ptp_runtime.manifest import Manifest

#: Roles that ``--fp16`` converts.
CONVERTED_ROLES = frozenset({"analysis", "synthesis", "head"})


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        bundle: its directory; None when one graph only was asked for.
        manifest: of the bundle, likewise.
        graphs: with audits and engines.
        seconds: stage → duration.
        integers: the entropy path in whole numbers; None where it is the float path, or was not asked for.
    """

    bundle: Path | None
    manifest: Manifest | None
    graphs: tuple[FinishedGraph, ...]
    seconds: Mapping[str, float]
    integers: IntegerExport | None


def export(options: ExportOptions, watcher: StageWatcher) -> ExportResult:
    """Run an export.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        TaskNotAvailableError: it has no such task.
        MissingExtraError: a target's builder is not installed.
        PrecisionNotMetError: FP16 was not reached.
        StageFailedError: a stage failed; the hint is the command that repeats it.
        UsageError: an option makes no sense, or the output path is taken.
    """
    for name in options.engine_targets:
        engine_target(name).version()  # before minutes of work
    _refuse_taken(options)
    stages = Stages(watcher)
    with stages.stage("load checkpoint", options.command()):
        task = load_task(options.checkpoint, options.task)
        graphs = _chosen(
            graphs_from_model(task.chain.codec, task.name, task.chain.prompts, task.chain.teacher), options
        )
        sizes = coded_sizes(options, declared_resize(task.chain.teacher))
    watcher.planned(_count(graphs, options))
    files = []
    for graph in graphs:
        if not _converted_to_integers(graph, options):
            with stages.stage(f"{graph.name}: ONNX", options.command(graph.name)):
                files.append(onnx_from_graph(graph, sizes.static))
    integers = None
    if any(_converted_to_integers(graph, options) for graph in graphs):
        integers = _integers(task, options, stages)
        files = _in_order([*files, *integers.graphs], graphs)
    finished, calibration = _in_precision(files, task, options, sizes.static, stages)
    finished = [_with_engines(graph, options, sizes.profile, stages) for graph in finished]
    if options.only:
        return ExportResult(None, None, tuple(finished), stages.seconds, integers)
    with stages.stage("tables", options.command()):
        tables = tables_from_model(task.chain.codec)
    with stages.stage("write bundle", options.command()):
        content = BundleContent(task, finished, tables, sizes.accepted, calibration, options.default_rate, integers)
        manifest = write_bundle(content, options.output, overwrite=options.overwrite)
    return ExportResult(options.output, manifest, tuple(finished), stages.seconds, integers)


def _refuse_taken(options: ExportOptions) -> None:
    """Say early what writing the bundle would say after minutes of work."""
    taken = options.output.exists() and (options.output.is_file() or any(options.output.iterdir()))
    if taken and not options.overwrite and not options.only:
        raise UsageError(
            f"{options.output} exists already",
            expected="a new path, or an empty directory",
            hint="choose another name, or replace a bundle with --overwrite",
        )


def _chosen(graphs: Sequence[Graph], options: ExportOptions) -> tuple[Graph, ...]:
    if not options.only:
        return tuple(graphs)
    chosen = tuple(graph for graph in graphs if graph.name == options.only)
    if not chosen:
        raise UsageError("unknown graph", expected=", ".join(graph.name for graph in graphs), got=options.only)
    return chosen


def _converted_to_integers(graph: Graph, options: ExportOptions) -> bool:
    return graph.role == "entropy" and options.entropy_path == "integer"


def _count(graphs: Sequence[Graph], options: ExportOptions) -> int:
    in_integers = sum(_converted_to_integers(graph, options) for graph in graphs)
    converted = sum(graph.role in CONVERTED_ROLES for graph in graphs) if options.fp16 else 0
    per_run = 1 if options.only else 3  # loading, and the tables and the bundle of a whole run
    stages = per_run + len(graphs) * (1 + len(options.engine_targets)) + converted + bool(converted)
    return stages + (2 - in_integers if in_integers else 0)  # latents and conversion in place of their tracing


def _integers(task: CheckpointTask, options: ExportOptions, stages: Stages) -> IntegerExport:
    """The entropy path as integer graphs."""
    only = options.only
    with stages.stage("entropy path: latents", options.command(only)):
        photos, resize = shipped_set("calibration"), declared_resize(task.chain.teacher)
        samples = calibration_latents(task.chain, photos, resize)
    with stages.stage("entropy path: integers", options.command(only)):
        try:
            return integer_export(task.chain, samples)
        except IntegerPathError as error:
            raise StageFailedError(
                "the entropy path of this checkpoint cannot be computed in whole numbers",
                got=str(error),
                hint="export it with --entropy-path float; its streams then stay with one backend and build",
            ) from error


def _in_order(files: Sequence[OnnxGraph], graphs: Sequence[Graph]) -> list[OnnxGraph]:
    """The files of these graphs, in the order of the chain."""
    by_name = {file.name: file for file in files}
    return [by_name[graph.name] for graph in graphs]


def _in_precision(
    files: Sequence[OnnxGraph], task: CheckpointTask, options: ExportOptions, static: Size | None, stages: Stages
) -> tuple[list[FinishedGraph], dict[str, Any]]:
    """The graphs in the precision asked for, and what they or the integer path were calibrated on."""
    to_convert = [file.name for file in files if options.fp16 and file.role in CONVERTED_ROLES]
    photos = shipped_set("calibration")
    calibration = {
        "provenance": photos.provenance,
        "sha256": photos.digest,
        "photos": [{"name": photo.name, "sha256": photo.sha256} for photo in photos.photos],
    }
    if not to_convert:
        calibrated = any(file.integer for file in files)
        return [FinishedGraph(file, None, ()) for file in files], calibration if calibrated else {}
    with stages.stage("run calibration photos", options.command()):
        samples = _samples(photos, task, static, to_convert)
    finished = []
    for file in files:
        audit: PrecisionAudit | None = None
        converted = file
        if file.name in to_convert:
            with stages.stage(f"{file.name}: FP16", options.command(file.name)):
                ranges = _ranges(file, samples[file.name])
                converted, audit = fp16_from_fp32(file, ranges, allow_partial=options.allow_partial)
        finished.append(FinishedGraph(converted, audit, ()))
    return finished, calibration


def _samples(
    photos: PhotoSet, task: CheckpointTask, static: Size | None, names: Sequence[str]
) -> dict[str, list[GraphSample]]:
    """What each graph sees on the calibration photos, from the model itself.

    With its float entropy path, whatever the bundle gets: so one graph alone (``--only``) is converted as in a whole
    export, and the few latents that differ move no range.
    """
    samples: dict[str, list[GraphSample]] = {name: [] for name in names}
    resize = declared_resize(task.chain.teacher)
    rates = task.chain.codec.spec.rates
    for number, photo in enumerate(photos):
        # The rates in turn, so that the ranges are those of all of them.
        run = task.chain.run(resized_photo(fit_photo(photo.image, static, resize), resize), number % rates)
        for name in names:
            samples[name].append(run.graphs[name])
    return samples


def _ranges(file: OnnxGraph, samples: Sequence[GraphSample]) -> Ranges:
    wanted = [spec.name for spec in file.inputs]
    return measure_ranges(file.model, ({name: sample.inputs[name] for name in wanted} for sample in samples))


def _with_engines(graph: FinishedGraph, options: ExportOptions, profile: SizeRange, stages: Stages) -> FinishedGraph:
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
