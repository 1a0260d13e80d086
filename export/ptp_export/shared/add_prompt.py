"""``ptp-export prompt``: one more task for a shared bundle, beside those it has. Nothing that they use changes.

The bundle's codec is not exported again: the task brings its prompt for each shared graph, its head, a golden test and
a manifest. The bundle is replaced as a whole, by a rename, or stays as it was.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ptp_calibration.integer_path import ConversionError, Sharing, coded_bits, convert_further, prove
from ptp_export.bundle.task_info import declared_resize, task_info
from ptp_export.bundle.writer import FinishedGraph, graph_entry, preprocessing, write_files
from ptp_export.conversion.convert import Found, convert
from ptp_export.conversion.measure import measure
from ptp_export.conversion.photos import calibration_photos
from ptp_export.entropy.calibration_latents import calibration_latents
from ptp_export.entropy.certificate import summary
from ptp_export.entropy.golden import golden_test
from ptp_export.entropy.network_from_model import network_from_model
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.options import WHOLE_RANGE
from ptp_export.oracle.checkpoint_task import CheckpointTask, load_task
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.precision.choices import PrecisionChoices
from ptp_export.shared.task_parts import CODEC_SHA256, PROMPTED, TaskParts, codec_digest, task_parts
from ptp_export.stages import Stages, StageWatcher
from ptp_export.stored_model import stored_model, with_defaults
from ptp_runtime.atomic import new_directory
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import CheckpointError, StageFailedError, UsageError
from ptp_runtime.manifest import (
    HYPER_GRAPH,
    MANIFEST_NAME,
    FileEntry,
    GraphEntry,
    Manifest,
    PromptEntry,
    entropy_identity,
    json_from_manifest,
)
from ptp_runtime.prompt_file import prompt_from_bytes, prompt_to_bytes


@dataclass(frozen=True)
class AddedTask:
    """What was added.

    Attributes:
        task: its name.
        files: path → bytes, of everything that is new.
        cost: what the bundle's integer entropy path takes more than the task's float networks, as a share.
        seconds: stage → duration.
    """

    task: str
    files: Mapping[str, int]
    cost: float
    seconds: Mapping[str, float]


def add_prompt(
    path: Path, checkpoint: str, name: str, watcher: StageWatcher, *, replace_task: bool = False
) -> AddedTask:
    """Add a task to a shared bundle.

    Args:
        path: the bundle.
        checkpoint: folder or ``demo``; its codec must be the bundle's, bit for bit.
        name: of the task.
        watcher: told about every stage.
        replace_task: take the place of the same task in the bundle; never of its main one.

    Raises:
        UsageError: the bundle is not shared, or has the task.
        CheckpointError: the checkpoint has another codec.
        StageFailedError: the task's hyper prompts do not fit the bundle's units.
        BundleError: the bundle cannot be used.
    """
    bundle = Bundle.open(path)
    main = bundle.main
    sharing_entry = _refuse(bundle, name, replace_task=replace_task)
    stages = Stages(watcher)
    watcher.planned(5)
    repeat = shlex.join(["ptp-export", "prompt", "--task", name, "--checkpoint", checkpoint, "--bundle", str(path)])
    with stages.stage("load checkpoint", repeat):
        parts = task_parts(load_task(checkpoint, name))
        _require_codec(bundle, parts)
    resize = declared_resize(parts.task.chain.teacher)
    with stages.stage("hyper prompt: integers", repeat):
        samples = list(calibration_latents(parts.task.chain, shipped_set("calibration"), resize))
        network = network_from_model(parts.task.chain.codec, parts.task.chain.prompts)
        whole = stored_model(bundle, main.graph(HYPER_GRAPH))
        try:
            sharing = Sharing.from_json(bundle.read(sharing_entry))
            further = convert_further(network, samples, sharing, whole)
        except ConversionError as error:
            raise StageFailedError(
                f"the prompts of {name} do not fit this bundle", got=str(error), hint="export the bundle again with it"
            ) from error
    with stages.stage("head: ONNX", repeat):
        # Of any size, also where a task crops its photos: it may be shown another task's.
        head = onnx_from_graph(parts.graphs["head"])
    with stages.stage("head: precision", repeat):
        finished = _as_the_others(head, parts.task, main)
    prompts = {graph: prompt_to_bytes(parts.prompt(graph)) for graph in PROMPTED}
    prompts[HYPER_GRAPH] = prompt_to_bytes(_in_order(further.tensors))
    suffix = f".{name}"
    files: dict[str, bytes] = {}
    entries = []
    for entry in main.graphs:
        if entry.prompt is not None:
            entries.append(_prompted(bundle, entry, entry.prompt, prompts[entry.name], suffix, files))
    by_name = {entry.name: entry for entry in entries}
    head_entry = graph_entry(finished, suffix)
    files[head_entry.file] = finished.onnx.data
    graphs = tuple(head_entry if entry.role == "head" else by_name.get(entry.name, entry) for entry in main.graphs)
    with stages.stage("golden test and proof", repeat):
        models = {
            entry.name: stored_model(bundle, entry)
            if entry.prompt is None
            else with_defaults(
                onnx.load_model_from_string(_whole(bundle, entry.file, entry.prompt, prompts[entry.name]))
            )
            for entry in graphs
            if entry.role == "entropy"
        }
        codec = parts.task.chain.codec
        golden = golden_test(models, samples[-1], codec.context.schedule, codec.spec.skip_index).to_bytes()
        certificate = summary(prove(models))
        cost = sum(coded_bits(network, models, samples)) / sum(further.float_bits) - 1
    golden_entry = FileEntry(f"golden{suffix}.bin", hashlib.sha256(golden).hexdigest())
    files[golden_entry.file] = golden
    manifest = _manifest(main, parts, graphs, golden_entry, certificate, cost)
    document = json_from_manifest(manifest)
    listed = FileEntry(f"tasks/{name}.json", hashlib.sha256(document).hexdigest())
    files[listed.file] = document
    updated = replace(main, others={**main.others, name: listed})
    with new_directory(bundle.path, replace=True) as folder:
        # Whatever else lies in the directory is somebody's, and stays.
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True, symlinks=True)
        write_files(folder, files | {MANIFEST_NAME: json_from_manifest(updated)})
        Bundle.open(folder, name)
    return AddedTask(name, {file: len(data) for file, data in files.items()}, cost, stages.seconds)


def _refuse(bundle: Bundle, name: str, *, replace_task: bool) -> FileEntry:
    """Refuse what cannot be; else the file of what a further task has to keep to."""
    main = bundle.main
    if main.sharing is None or main.side != "both":
        raise UsageError(
            f"{bundle.path} takes no further task",
            expected="a whole bundle that ptp-export --shared wrote",
            got="a bundle of one task" if main.sharing is None else f"the {main.side}'s side of one",
        )
    if name == main.task.name or (name in main.others and not replace_task):
        raise UsageError(
            f"{bundle.path} serves the task {name!r} already",
            expected="another task" if name == main.task.name else "another task, or --replace",
        )
    return main.sharing


def _require_codec(bundle: Bundle, parts: TaskParts) -> None:
    """The checkpoint of the bundle, or one whose codec codes as the bundle's does."""
    main = bundle.main
    if main.model.checkpoint_sha256 == parts.task.digest:
        return
    expected, got = main.audit.get(CODEC_SHA256, ""), codec_digest(parts.task)
    if expected != got:
        raise CheckpointError(
            "the checkpoint has another codec than the bundle",
            expected=f"weights of SHA-256 {str(expected)[:16]}…",
            got=f"{got[:16]}…",
            hint="train the prompts beside the bundle's codec (ptp train stage2), or export a new bundle",
        )


def _in_order(tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return {name: tensors[name] for name in sorted(tensors)}


def _as_the_others(head: OnnxGraph, task: CheckpointTask, main: Manifest) -> FinishedGraph:
    """The head in the precision of the main task's head."""
    audit: Any = main.audit.get("graphs", {}).get("head", {})
    computed = audit.get("precision", {}).get("arithmetic", {})
    choices = PrecisionChoices(fp16="fp16" in computed, int8="int8" in computed)
    if not choices.converts:
        return FinishedGraph(head, None, ())
    measurements = measure([head], calibration_photos(None), task, None, observers=choices.int8)
    return convert(head, Found(measurements, {}), choices, allow_partial=False)


def _prompted(
    bundle: Bundle, entry: GraphEntry, stored: PromptEntry, prompt: bytes, suffix: str, files: dict[str, bytes]
) -> GraphEntry:
    """A shared graph with the new prompt, whose file joins ``files``.

    Raises:
        CheckpointError: the prompt's tensors are not those that the graph takes.
    """
    known, given = (
        {name: values.shape for name, values in prompt_from_bytes(data, stored.file).items()}
        for data in (bundle.read(FileEntry(stored.file, stored.sha256)), prompt)
    )
    if known != given:
        raise CheckpointError(
            f"the prompts of the checkpoint do not fit the bundle's graph {entry.name!r}",
            expected=f"{len(known)} tensors such as {next(iter(known.items()))}",
            got=f"{len(given)} tensors such as {next(iter(given.items()), None)}",
        )
    path = f"prompts/{entry.name}{suffix}.bin"
    files[path] = prompt
    digest = hashlib.sha256(_whole(bundle, entry.file, stored, prompt)).hexdigest()
    return replace(
        entry,
        sha256=digest,
        prompt=PromptEntry(path, hashlib.sha256(prompt).hexdigest(), stored.bare_sha256),
    )


def _whole(bundle: Bundle, file: str, stored: PromptEntry, prompt: bytes) -> bytes:
    """A shared graph with a prompt that is not written yet."""
    return bundle.read(FileEntry(file, stored.bare_sha256)) + prompt


def _manifest(
    main: Manifest,
    parts: TaskParts,
    graphs: tuple[GraphEntry, ...],
    golden: FileEntry,
    certificate: Mapping[str, Any],
    cost: float,
) -> Manifest:
    """The new task's manifest: the main one, with what is the task's."""
    digests = {entry.name: entry.sha256 for entry in graphs}
    entropy = main.entropy
    identity = entropy_identity(
        mode=entropy.mode,
        tables_sha256=entropy.tables.sha256,
        probability_bits=entropy.probability_bits,
        skip_index=entropy.skip_index,
        rates_sha256=None if entropy.rates is None else entropy.rates.sha256,
        hyper_sha256=digests[HYPER_GRAPH],
        schedule=entropy.schedule,
        step_sha256=[digests[step.graph] for step in entropy.schedule],
    )
    teacher = parts.task.chain.teacher
    audit = {
        "entropy": {"certificate": dict(certificate), "calibration_cost": {"cost": round(cost, 6)}},
        "calibration": dict(main.audit.get("calibration", {})),
    }
    return replace(
        main,
        task=task_info(parts.name, teacher),
        model=replace(main.model, checkpoint_sha256=parts.task.digest),
        preprocessing=replace(
            preprocessing(WHOLE_RANGE, teacher, parts.task.chain.codec.spec),
            height=main.preprocessing.height,
            width=main.preprocessing.width,
        ),
        entropy=replace(entropy, identity=identity, golden=golden),
        graphs=graphs,
        # An engine of a shared graph takes any prompt; the new head has none yet.
        engines=tuple(engine for engine in main.engines if engine.role != "head"),
        audit=audit,
        others={},
        sharing=None,
    )
