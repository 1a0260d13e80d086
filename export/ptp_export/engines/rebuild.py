"""The engines of a bundle, built again from the graphs beside them, for the machine at hand.

The bundle is replaced as a whole or stays as it was. Nothing but engines changes: the graphs, the tables and so the
identity of the entropy path are the same, and old streams stay readable.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from ptp_export.engines.choices import BuildChoices
from ptp_export.engines.device_here import device_here
from ptp_export.engines.engine_from_onnx import Engine, Shapes, engine_from_onnx
from ptp_export.engines.entry import engine_audit, engine_entry, engine_file
from ptp_export.engines.file_audit import audit_of_file
from ptp_export.engines.targets import ENGINE_TARGETS, Target, engine_target
from ptp_export.entropy.golden import covering_golden
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.options import ENGINE_RANGE
from ptp_export.sizes import Size, SizeRange
from ptp_export.stages import Stages, StageWatcher
from ptp_runtime.atomic import new_directory
from ptp_runtime.bundle import Bundle
from ptp_runtime.engines.bundle_engines import engine_states
from ptp_runtime.engines.repair import DamagedBundle, open_for_repair
from ptp_runtime.errors import MissingExtraError
from ptp_runtime.manifest import (
    MANIFEST_NAME,
    EngineEntry,
    FileEntry,
    GraphEntry,
    Manifest,
    json_from_manifest,
)


@dataclass(frozen=True)
class RebuildResult:
    """What became of a bundle's engines.

    Attributes:
        built: files of engines that were built.
        kept: files of engines that were good, or that nothing is known against.
        dropped: files of engines that are of no use and that no installed builder can replace.
        seconds: of all builds together.
    """

    built: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    seconds: float

    @property
    def changed(self) -> bool:
        return bool(self.built or self.dropped)


@dataclass(frozen=True)
class RebuildRequest:
    """How engines are built again.

    Attributes:
        targets: which; empty: those of the bundle whose builders are installed, or every installed one.
        everything: build those anew that nothing is known against, too.
        devices: compute capabilities; empty: of the engine that is replaced, or of the device at hand, or the default.
        choices: see :class:`BuildChoices`.
        log_folder: where the builds leave their logs.
        timeout_s: seconds one engine may take.
    """

    targets: tuple[str, ...]
    everything: bool
    devices: tuple[str, ...]
    choices: BuildChoices
    log_folder: Path
    timeout_s: float = 900.0


@dataclass
class _Part:
    """What one task of a bundle has of its own: all graphs of the main one; of others, those that they do not share.

    Attributes:
        damaged: the bundle for this task.
        graphs: its own.
        built: file → entry and engine, as far as they were built.
    """

    damaged: DamagedBundle
    graphs: tuple[GraphEntry, ...]
    built: dict[str, tuple[EngineEntry, Engine]] = field(default_factory=dict)

    @property
    def old(self) -> list[EngineEntry]:
        """Engines of its graphs that were not built again."""
        names = {graph.name for graph in self.graphs}
        replaced = {(entry.graph, entry.target) for entry, _ in self.built.values()}
        engines = self.damaged.bundle.manifest.engines
        return [one for one in engines if one.graph in names and (one.graph, one.target) not in replaced]

    @property
    def kept(self) -> list[EngineEntry]:
        """Those of them that stay."""
        return [engine for engine in self.old if engine.file not in self.damaged.broken]

    def useless(self) -> set[str]:
        """Files of engines that do not stay."""
        names = {graph.name for graph in self.graphs}
        engines = self.damaged.bundle.manifest.engines
        return {one.file for one in engines if one.graph in names} - {engine.file for engine in self.kept}

    def engines(self) -> list[EngineEntry]:
        """All that it has in the end, in the order of the graphs."""
        order = {graph.name: number for number, graph in enumerate(self.damaged.bundle.manifest.graphs)}
        entries = [*self.kept, *(entry for entry, _ in self.built.values())]
        return sorted(entries, key=lambda entry: (order[entry.graph], entry.target))

    def renewed(self, further: Sequence[EngineEntry] = ()) -> Manifest:
        """Its manifest with these engines, after further ones of shared graphs."""
        manifest = self.damaged.bundle.manifest
        engines = (*further, *self.engines())
        listed = {engine.file for engine in engines}
        audits = {file: found for file, found in manifest.audit.get("engines", {}).items() if file in listed}
        audits |= {file: engine_audit(engine) for file, (_, engine) in self.built.items()}
        versions = {engine.target.module: engine.version for _, engine in self.built.values()}
        audit = dict(manifest.audit) | {"engines": audits}
        return replace(manifest, engines=engines, audit=audit, tools=dict(manifest.tools) | versions)


def rebuild_engines(path: Path, request: RebuildRequest, watcher: StageWatcher) -> RebuildResult:
    """Build what does not load here, and replace the bundle.

    Raises:
        BundleError: anything but engines is wrong with the bundle.
        MissingExtraError: no builder is installed, or not the one that was asked for.
        StageFailedError: a build failed; the bundle is as it was.
        PrecisionNotMetError: an engine computes in something else than its graph; likewise.
    """
    parts = _parts(path)
    targets = _targets(request, parts[0].damaged.bundle.main)
    wanted = [
        (part, graph, target)
        for part in parts
        for target in targets
        for graph in _to_build(part, target, request.everything)
    ]
    stages = Stages(watcher)
    watcher.planned(len(wanted))
    repeat = f"ptp doctor --fix {path}"
    for part, graph, target in wanted:
        stem = Path(graph.file).stem
        with stages.stage(f"{stem}: {target.name}", repeat):
            request.log_folder.mkdir(parents=True, exist_ok=True)
            engine = _build(part.damaged.bundle, graph, target, request, watcher)
            entry = engine_entry(graph.name, graph.role, graph.precision, engine, stem)
            part.built[engine_file(stem, target.name)] = (entry, engine)
    result = RebuildResult(
        tuple(file for part in parts for file in part.built),
        tuple(engine.file for part in parts for engine in part.kept),
        tuple(engine.file for part in parts for engine in part.old if engine.file in part.damaged.broken),
        sum(stages.seconds.values()),
    )
    if result.changed:
        _replace(parts)
    return result


def _parts(path: Path) -> tuple[_Part, ...]:
    """The bundle's main task with all of its graphs, then each further one with those that are its own."""
    main = open_for_repair(path)
    shared = {graph.name: graph.stored()[0] for graph in main.bundle.main.graphs}
    parts = [_Part(main, main.bundle.manifest.graphs)]
    for task in main.bundle.tasks[1:]:
        damaged = open_for_repair(path, task)
        own = tuple(g for g in damaged.bundle.manifest.graphs if shared.get(g.name) != g.stored()[0])
        parts.append(_Part(damaged, own))
    return tuple(parts)


def _targets(request: RebuildRequest, manifest: Manifest) -> tuple[Target, ...]:
    """Explicit ones must be there; others are taken where their builders are."""
    if request.targets:
        targets = tuple(engine_target(name) for name in dict.fromkeys(request.targets))
        for target in targets:
            target.version()
            request.choices.require_possible(target)
        return targets
    installed = [target for target in ENGINE_TARGETS.values() if _is_installed(target)]
    listed = {engine.target for engine in manifest.engines}
    chosen = [target for target in installed if target.name in listed] or installed
    if not chosen:
        hints = "; or ".join(target.install for target in ENGINE_TARGETS.values())
        raise MissingExtraError(
            "no builder of engines is installed", expected=" or ".join(ENGINE_TARGETS), got="neither", hint=hints
        )
    return tuple(chosen)


def _is_installed(target: Target) -> bool:
    try:
        target.version()
    except MissingExtraError:
        return False
    return True


def _to_build(part: _Part, target: Target, everything: bool) -> list[GraphEntry]:
    """Graphs without an engine for the target, and those whose engine is of no use here by a fault of its own."""
    fine = {state.entry.graph for state in engine_states(part.damaged, target.name) if not state.own_fault}
    return [graph for graph in part.graphs if everything or graph.name not in fine]


def _build(bundle: Bundle, entry: GraphEntry, target: Target, request: RebuildRequest, watcher: StageWatcher) -> Engine:
    # Of a shared graph, the file without a prompt: the engine takes that as inputs, too.
    model = onnx.load_from_string(bundle.read(entry.stored()[0]))
    graph = onnx_graph(entry.name, entry.role, model, integer=entry.precision == "integer")  # type: ignore[arg-type]
    old = bundle.engine(entry.name, target.name)
    sizes = _sizes(bundle.manifest, graph)
    profile = _old_profile(bundle, entry.name)
    typical = {spec.name: tuple(int(n) for n in spec.bind(sizes.typical.bindings())) for spec in graph.inputs}
    audit = None if entry.precision in ("fp32", "integer") else audit_of_file(graph, typical)
    return engine_from_onnx(
        graph,
        target,
        sizes,
        request.log_folder,
        audit=audit,
        allow_partial=False,
        devices=_devices(request, old, target),
        timeout_s=request.timeout_s,
        choices=request.choices,
        told=watcher.advanced,
        profile=profile,
    )


def _devices(request: RebuildRequest, old: EngineEntry | None, target: Target) -> tuple[str, ...]:
    """For the device at hand, unless asked otherwise; a machine without one keeps to what the old engine was for."""
    if request.devices or target.for_its_device:
        return request.devices
    here = device_here().capability
    kept = () if old is None else old.devices
    return kept if not kept or not here or here in kept else (*kept, here)


def _old_profile(bundle: Bundle, graph: str) -> Mapping[str, Shapes] | None:
    """The shapes that an earlier engine of the graph took, for whichever target."""
    for engine in bundle.manifest.engines:
        if engine.graph == graph and engine.profile:
            return {name: (r.minimum, r.optimum, r.maximum) for name, r in engine.profile.items()}
    return None


def _sizes(manifest: Manifest, graph: OnnxGraph) -> SizeRange:
    """The usual range of engines, inside what the bundle takes."""
    (low_h, high_h), (low_w, high_w) = manifest.preprocessing.height, manifest.preprocessing.width
    usual = ENGINE_RANGE
    smallest = Size(_inside(usual.smallest.height, low_h, high_h), _inside(usual.smallest.width, low_w, high_w))
    typical = Size(_inside(usual.typical.height, low_h, high_h), _inside(usual.typical.width, low_w, high_w))
    largest = Size(_inside(usual.largest.height, low_h, high_h), _inside(usual.largest.width, low_w, high_w))
    sizes = SizeRange(smallest, typical, largest)
    return covering_golden(sizes) if graph.integer else sizes


def _inside(wanted: int, low: int, high: int) -> int:
    # A photo of one pixel is padded to ``low``: nothing smaller arrives.
    return min(max(wanted, low), high)


def _replace(parts: Sequence[_Part]) -> None:
    """The same bundle with other engines, under the same name."""
    bundle = parts[0].damaged.bundle
    with new_directory(bundle.path, replace=True) as folder:
        # Whatever else lies in the directory is somebody's, and stays.
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True, symlinks=True)
        for part in parts:
            for file in part.useless():
                (folder / file).unlink(missing_ok=True)
            for file, (_, engine) in part.built.items():
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_bytes(engine.data)
        others = _renewed_others(parts, folder)
        (folder / MANIFEST_NAME).write_bytes(json_from_manifest(replace(parts[0].renewed(), others=others)))
        for task in bundle.tasks:
            Bundle.open(folder, task)


def _renewed_others(parts: Sequence[_Part], folder: Path) -> dict[str, FileEntry]:
    """Manifests of the further tasks: the engines of the graphs that they share, and their own."""
    engines, found = parts[0].engines(), {}
    for part in parts[1:]:
        own = {graph.name for graph in part.graphs}
        manifest = part.renewed([engine for engine in engines if engine.graph not in own])
        entry = part.damaged.bundle.main.others[manifest.task.name]
        data = json_from_manifest(manifest)
        (folder / entry.file).write_bytes(data)
        found[manifest.task.name] = FileEntry(entry.file, hashlib.sha256(data).hexdigest())
    return found
