"""The export, stage by stage: checkpoint → graphs → ONNX, integers → (ranges → FP16, INT8) → engines → bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ptp_calibration.integer_path import IntegerPathError
from ptp_export.bundle.tables_from_model import tables_from_model
from ptp_export.bundle.task_info import declared_resize
from ptp_export.bundle.writer import BundleContent, FinishedGraph, write_bundle
from ptp_export.coded_sizes import coded_sizes
from ptp_export.conversion.convert import (
    CONVERTED_ROLES,
    Found,
    calibration_audit,
    convert,
    measured,
    searched,
)
from ptp_export.conversion.search import SearchResult
from ptp_export.engines.targets import engine_target
from ptp_export.engines.with_engines import with_engines
from ptp_export.entropy.calibration_latents import calibration_latents
from ptp_export.entropy.integer_export import IntegerExport, integer_export
from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.graphs.interface import Graph
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.options import ExportOptions
from ptp_export.oracle.checkpoint_task import CheckpointTask, load_task
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.sizes import Size
from ptp_export.stages import Stages, StageWatcher
from ptp_runtime.errors import StageFailedError, UsageError
from ptp_runtime.manifest import Manifest


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        bundle: its directory; None when one graph only was asked for.
        manifest: of the bundle, likewise.
        graphs: with audits and engines.
        seconds: stage → duration.
        integers: the entropy path in whole numbers; None where it is the float path, or was not asked for.
        search: what ``--best`` found; None without it.
    """

    bundle: Path | None
    manifest: Manifest | None
    graphs: tuple[FinishedGraph, ...]
    seconds: Mapping[str, float]
    integers: IntegerExport | None
    search: SearchResult | None = None


def export(options: ExportOptions, watcher: StageWatcher) -> ExportResult:
    """Run an export.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        TaskNotAvailableError: it has no such task.
        MissingExtraError: a target's builder is not installed.
        PrecisionNotMetError: FP16 or INT8 was not reached.
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
    finished = [FinishedGraph(file, None, ()) for file in files]
    if options.only:
        finished, _ = _in_precision(finished, task, options, sizes.static, stages, None)
        finished = [with_engines(graph, options, sizes.profile, stages) for graph in finished]
        return ExportResult(None, None, tuple(finished), stages.seconds, integers)
    with stages.stage("tables", options.command()):
        tables = tables_from_model(task.chain.codec)
    content = BundleContent(task, finished, tables, sizes.accepted, {}, options.default_rate, integers)
    finished, found = _in_precision(finished, task, options, sizes.static, stages, content)
    finished = [with_engines(graph, options, sizes.profile, stages) for graph in finished]
    calibrated = found is not None or integers is not None
    calibration = calibration_audit(found, shipped_set("calibration")) if calibrated else {}
    with stages.stage("write bundle", options.command()):
        content = replace(content, graphs=finished, calibration=calibration)
        manifest = write_bundle(content, options.output, overwrite=options.overwrite)
    search = None if found is None else found.search
    return ExportResult(options.output, manifest, tuple(finished), stages.seconds, integers, search)


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
    converted = sum(graph.role in CONVERTED_ROLES for graph in graphs) if options.precision.converts else 0
    per_run = 1 if options.only else 3  # loading, and the tables and the bundle of a whole run
    per_run += bool(converted) + (options.precision.best is not None)
    stages = per_run + len(graphs) * (1 + len(options.engine_targets)) + converted
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
    graphs: Sequence[FinishedGraph],
    task: CheckpointTask,
    options: ExportOptions,
    static: Size | None,
    stages: Stages,
    content: BundleContent | None,
) -> tuple[list[FinishedGraph], Found | None]:
    """The graphs in the precision asked for, and what was found on the calibration photos; None where none was run.

    ``content`` is the whole bundle in FP32, which ``--best`` needs.
    """
    choices, only = options.precision, options.only
    to_convert = [graph.onnx for graph in graphs if choices.converts and graph.onnx.role in CONVERTED_ROLES]
    if not to_convert:
        return list(graphs), None
    with stages.stage("run calibration photos", options.command(only)):
        found = Found(measured(to_convert, task, choices, static), {})
    if choices.best is not None and content is not None:
        with stages.stage("search for the best INT8", options.command()):
            told = stages.watcher.advanced
            found = searched(to_convert, content, found.measurements, choices, choices.best, told)
    finished, names = [], {file.name for file in to_convert}
    for graph in graphs:
        if graph.name in names:
            with stages.stage(f"{graph.name}: {choices.label}", options.command("" if choices.best else graph.name)):
                finished.append(convert(graph.onnx, found, choices, allow_partial=options.allow_partial))
        else:
            finished.append(graph)
    return finished, found
