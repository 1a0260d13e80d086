"""The export of a shared bundle: the codec's graphs once, then each task's prompt, head, golden test and manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_calibration import CalibrationError, GraphMeasurement, Ranges, TensorRange
from ptp_calibration.integer_path import (
    EntropyNetwork,
    IntegerPathError,
    LatentSample,
    Sharing,
    TogetherPaths,
    convert_together,
    hyper_name,
)
from ptp_export.bundle.tables_from_model import tables_from_model
from ptp_export.bundle.task_info import declared_resize
from ptp_export.bundle.writer import BundleContent, FinishedGraph, bundle_files, write_files
from ptp_export.coded_sizes import CodedSizes, coded_sizes
from ptp_export.conversion.convert import Found, calibration_audit, convert
from ptp_export.conversion.measure import measure
from ptp_export.conversion.photos import calibration_photos
from ptp_export.engines.with_engines import with_engines
from ptp_export.entropy.calibration_latents import calibration_latents
from ptp_export.entropy.certificate import summary
from ptp_export.entropy.golden import golden_test
from ptp_export.entropy.integer_export import IntegerExport
from ptp_export.entropy.network_from_model import network_from_model, own_layers
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.options import ExportOptions
from ptp_export.oracle.checkpoint_task import load_task
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.shared.bare_graph import Tensors, split_prompt, whole_model
from ptp_export.shared.task_parts import (
    CODEC_SHA256,
    PROMPTED,
    TaskParts,
    codec_digest,
    require_one_codec,
    task_parts,
)
from ptp_export.sizes import Size, SizeRange
from ptp_export.stages import Stages, StageWatcher
from ptp_runtime.atomic import new_directory
from ptp_runtime.errors import StageFailedError, UsageError
from ptp_runtime.manifest import HYPER_GRAPH, MANIFEST_NAME, FileEntry, Manifest, json_from_manifest
from ptp_runtime.prompt_file import prompt_to_bytes

#: What a further task has to keep to.
SHARING_FILE = "sharing.json"


@dataclass(frozen=True)
class SharedExport:
    """What an export made.

    Attributes:
        manifest: the main one.
        contents: what each task's manifest was made of, by task.
        seconds: stage → duration.
    """

    manifest: Manifest
    contents: Mapping[str, BundleContent]
    seconds: Mapping[str, float]


def export_shared(options: ExportOptions, names: Sequence[str], watcher: StageWatcher) -> SharedExport:
    """Export several tasks of a checkpoint to one bundle.

    Args:
        options: ``task`` is the bundle's main one.
        names: of all tasks, the main one first.
        watcher: told about every stage.

    Raises:
        PtpError: as :func:`ptp_export.pipeline.export`.
    """
    _refuse(options, names)
    stages = Stages(watcher)
    repeat = options.command()
    with stages.stage("load checkpoint", repeat):
        loaded = {name: load_task(options.checkpoint, name) for name in names}
        require_one_codec(loaded)
        parts = {name: task_parts(task) for name, task in loaded.items()}
        sizes = {name: coded_sizes(options, declared_resize(loaded[name].chain.teacher)) for name in names}
    main = parts[names[0]]
    engines = len(options.engine_targets) * (len(main.graphs) + len(names) - 1)
    converted = (2 + len(names)) if options.precision.converts else 0
    watcher.planned(1 + 2 + 2 * len(names) + 2 + converted + bool(converted) + engines)
    shared: dict[str, OnnxGraph] = {}
    for name in PROMPTED:
        with stages.stage(f"{name}: ONNX", repeat):
            whole = onnx_from_graph(main.graphs[name])
            shared[name], _ = split_prompt(whole, main.prompt(name))
    heads = {}
    for name in names:
        with stages.stage(f"head of {name}: ONNX", repeat):
            # Of any size, also where a task crops its photos: it may be shown another task's.
            heads[name] = onnx_from_graph(parts[name].graphs["head"])
    paths, networks, samples = _integers(parts, stages, repeat)
    steps, hypers = _entropy_graphs(paths)
    prompts = {
        name: {graph: parts[name].prompt(graph) for graph in PROMPTED} | {HYPER_GRAPH: hypers[name]} for name in names
    }
    finished, found = _in_precision(shared, heads, parts, prompts, options, stages)
    profile = _widest([sizes[name] for name in names])
    codec = [*finished[:1], *(FinishedGraph(graph, None, ()) for graph in steps), *finished[1:2]]
    codec = [with_engines(graph, options, profile, stages) for graph in codec]
    own_heads = {
        name: with_engines(head, options, profile, stages) for name, head in zip(names, finished[2:], strict=True)
    }
    with stages.stage("tables", repeat):
        tables = tables_from_model(main.task.chain.codec)
    calibration = calibration_audit(found, shipped_set("calibration"))
    schedule, skip = main.task.chain.codec.context.schedule, main.task.chain.codec.spec.skip_index
    contents = {}
    with stages.stage("write bundle", repeat):
        for name in names:
            path = paths.paths[name]
            integers = IntegerExport(
                tuple(graph.onnx for graph in codec if graph.onnx.role == "entropy"),
                golden_test(path.graphs, samples[name][-1], schedule, skip),
                summary(path.proofs),
                path.report,
            )
            contents[name] = BundleContent(
                parts[name].task,
                [*codec, own_heads[name]],
                tables,
                options.accepted,
                calibration,
                options.default_rate,
                integers,
                {graph: prompt_to_bytes(tensors) for graph, tensors in prompts[name].items()},
                f".{name}",
            )
        sharing = Sharing.of(paths, networks[names[0]])
        manifest = write_shared(contents, sharing, options)
    return SharedExport(manifest, contents, stages.seconds)


def write_shared(contents: Mapping[str, BundleContent], sharing: Sharing, options: ExportOptions) -> Manifest:
    """Write a bundle of several tasks, or nothing; the main one comes first."""
    files: dict[str, bytes] = {SHARING_FILE: sharing.to_json()}
    manifests = {}
    for name, content in contents.items():
        manifests[name], own = bundle_files(content)
        for path, data in own.items():
            if files.setdefault(path, data) != data:
                raise StageFailedError("two tasks have different files of one name", got=path)
    first, *others = manifests
    listed = {}
    for name in others:
        path, data = f"tasks/{name}.json", json_from_manifest(manifests[name])
        files[path] = data
        listed[name] = FileEntry(path, hashlib.sha256(data).hexdigest())
    entry = FileEntry(SHARING_FILE, hashlib.sha256(files[SHARING_FILE]).hexdigest())
    audit = {**manifests[first].audit, CODEC_SHA256: codec_digest(contents[first].task)}
    main = replace(manifests[first], others=listed, sharing=entry, audit=audit)
    files[MANIFEST_NAME] = json_from_manifest(main)
    with new_directory(options.output, replace=options.overwrite) as folder:
        write_files(folder, files)
    return main


def _refuse(options: ExportOptions, names: Sequence[str]) -> None:
    """Say early what cannot be."""
    if len(set(names)) != len(names) or len(names) < 2:
        raise UsageError(
            "a shared bundle is one of several tasks", expected="--task seg --task det --shared", got=", ".join(names)
        )
    for wrong, what, hint in (
        (bool(options.only), "--only", "leave it out"),
        (options.precision.best is not None, "--best", "search on a bundle of one task"),
        (options.precision.ranges is not None, "--ranges", "measure again"),
        (options.precision.save_ranges is not None, "--save-ranges", "leave it out"),
        (options.entropy_path != "integer", "--entropy-path float", "leave it out"),
        (options.static_size is not None, "--size", "give a range"),
    ):
        if wrong:
            raise UsageError(f"a shared bundle cannot be exported with {what}", hint=hint)
    taken = options.output.exists() and (options.output.is_file() or any(options.output.iterdir()))
    if taken and not options.overwrite:
        raise UsageError(
            f"{options.output} exists already",
            expected="a new path, or an empty directory",
            hint="choose another name, or replace a bundle with --overwrite",
        )


def _integers(
    parts: Mapping[str, TaskParts], stages: Stages, repeat: str
) -> tuple[TogetherPaths, dict[str, EntropyNetwork], dict[str, list[LatentSample]]]:
    """One entropy path for all tasks, in whole numbers."""
    networks: dict[str, EntropyNetwork] = {}
    samples: dict[str, list[LatentSample]] = {}
    for name, part in parts.items():
        with stages.stage(f"entropy path of {name}: latents", repeat):
            chain = part.task.chain
            resize = declared_resize(chain.teacher)
            samples[name] = list(calibration_latents(chain, shipped_set("calibration"), resize))
            networks[name] = network_from_model(chain.codec, chain.prompts)
    with stages.stage("entropy path: integers", repeat):
        try:
            own = own_layers(next(iter(networks.values())))
            return convert_together(networks, samples, own), networks, samples
        except IntegerPathError as error:
            raise StageFailedError(
                "the tasks of this checkpoint cannot share an entropy path", got=str(error), hint="export them apart"
            ) from error


def _entropy_graphs(paths: TogetherPaths) -> tuple[list[OnnxGraph], dict[str, Tensors]]:
    """The hyper graph without a prompt and the steps, which all tasks share, and each task's hyper prompt."""
    found: list[OnnxGraph] = []
    prompts: dict[str, Tensors] = {}
    for task, path in paths.paths.items():
        graphs = [onnx_graph(name, "entropy", model, integer=True) for name, model in path.graphs.items()]
        hyper, prompts[task] = split_prompt(graphs[0], _own_tensors(graphs[0], paths.own))
        graphs[0] = hyper
        if not found:
            found = graphs
        different = [ours.name for ours, theirs in zip(found, graphs, strict=True) if ours.data != theirs.data]
        if different:
            raise StageFailedError(
                "the tasks of this checkpoint cannot share an entropy path",
                expected="graphs that differ in the prompts alone",
                got=f"other weights in {different[0]}",
                hint="export them apart",
            )
    return found, prompts


def _own_tensors(hyper: OnnxGraph, own: Sequence[str]) -> list[str]:
    stems = {hyper_name(name) for name in own}
    names = [tensor.name for tensor in hyper.model.graph.initializer]
    return [name for name in names if name.rpartition("/")[0] in stems and name.endswith(("/weight", "/bias"))]


def _in_precision(
    shared: Mapping[str, OnnxGraph],
    heads: Mapping[str, OnnxGraph],
    parts: Mapping[str, TaskParts],
    prompts: Mapping[str, Mapping[str, Tensors]],
    options: ExportOptions,
    stages: Stages,
) -> tuple[list[FinishedGraph], Found | None]:
    """Analysis, synthesis and the heads in the order of the tasks, in the precision asked for."""
    choices, repeat = options.precision, options.command()
    graphs = [*shared.values(), *heads.values()]
    if not choices.converts:
        return [FinishedGraph(graph, None, ()) for graph in graphs], None
    with stages.stage("run calibration photos", repeat):
        try:
            by_task = {
                name: measure(
                    [*(_with_prompt(shared[graph], prompts[name][graph]) for graph in PROMPTED), heads[name]],
                    calibration_photos(choices.calibration),
                    part.task,
                    None,
                    observers=choices.int8,
                )
                for name, part in parts.items()
            }
        except CalibrationError as error:
            raise UsageError("the graphs cannot be calibrated", got=str(error)) from error
    finished = []
    first = next(iter(by_task.values()))
    for graph in graphs:
        seen = list(by_task.values()) if graph.name in shared else [by_task[_task_of(graph, heads)]]
        together = _merged([found.graphs[graph.name] for found in seen], graph)
        found = Found(replace(first, graphs={graph.name: together}), {})
        with stages.stage(f"{graph.name}: {choices.label}", repeat):
            finished.append(convert(graph, found, choices, allow_partial=options.allow_partial))
    return finished, Found(first, {})


def _task_of(head: OnnxGraph, heads: Mapping[str, OnnxGraph]) -> str:
    return next(name for name, graph in heads.items() if graph is head)


def _with_prompt(bare: OnnxGraph, prompt: Mapping[str, NDArray[np.float32]]) -> OnnxGraph:
    """The graph with its prompt inside, for measuring: inputs are those that photos give."""
    return onnx_graph(bare.name, bare.role, whole_model(bare, prompt))


def _merged(measurements: Sequence[GraphMeasurement], graph: OnnxGraph) -> GraphMeasurement:
    """What several tasks did to a graph they share: the widest of each tensor."""
    ranges: dict[str, TensorRange] = {}
    thresholds: dict[str, dict[str, float]] = {}
    for measurement in measurements:
        for name, seen in measurement.ranges.items():
            ranges[name] = ranges[name].merged(seen) if name in ranges else seen
        for observer, values in measurement.thresholds.items():
            widest = thresholds.setdefault(observer, {})
            for name, value in values.items():
                widest[name] = max(value, widest.get(name, 0.0))
    for spec in graph.inputs:
        # A prompt: its values are whatever a task brings, its size is known.
        if spec.name not in ranges:
            ranges[spec.name] = TensorRange(-1.0, 1.0, tuple(int(side) for side in spec.dims))
    return GraphMeasurement(graph.sha256, Ranges(ranges, measurements[0].ranges.samples), thresholds)


def _widest(sizes: Sequence[CodedSizes]) -> SizeRange:
    """Photo sizes that engines of shared graphs take: those of all tasks."""
    profiles = [size.profile for size in sizes]
    low = Size(min(p.smallest.height for p in profiles), min(p.smallest.width for p in profiles))
    high = Size(max(p.largest.height for p in profiles), max(p.largest.width for p in profiles))
    return SizeRange(low, profiles[0].typical, high)


def audit_of(exported: SharedExport) -> dict[str, Any]:
    """The export as JSON values."""
    return {
        "tasks": {
            name: {
                "graphs": {graph.name: graph.precision for graph in content.graphs},
                "prompt_bytes": {graph: len(data) for graph, data in content.prompts.items()},
                "cost": None if content.integers is None else content.integers.report.cost,
            }
            for name, content in exported.contents.items()
        },
        "seconds": {name: round(seconds, 3) for name, seconds in exported.seconds.items()},
    }
