"""A bundle from what the stages made: files beside, manifest last, one rename."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptp_export.bundle.task_info import declared_resize, task_info
from ptp_export.engines.engine_from_onnx import Engine
from ptp_export.engines.entry import engine_audit, engine_entry, engine_file
from ptp_export.entropy.integer_export import IntegerExport
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.oracle.checkpoint_task import CheckpointTask
from ptp_export.precision.audit import PrecisionAudit
from ptp_export.sizes import FEATURE_STRIDE, PAD_MULTIPLE, SizeRange
from ptp_export.tensor_spec import TensorSpec
from ptp_model.codec import FeatureCodec
from ptp_model.spec import ModelSpec
from ptp_model.teachers import Teacher
from ptp_runtime.atomic import new_directory
from ptp_runtime.errors import UsageError
from ptp_runtime.manifest import (
    MANIFEST_NAME,
    EntropyInfo,
    FeatureInfo,
    FileEntry,
    GraphEntry,
    Manifest,
    ModelInfo,
    Preprocessing,
    PromptEntry,
    RatesInfo,
    ScheduleEntry,
    TensorInfo,
    entropy_identity,
    json_from_manifest,
)
from ptp_runtime.prompt_file import prompt_from_bytes
from ptp_runtime.rate_gains import RateGains
from ptp_runtime.tables import Tables

#: Packages whose versions shape the files of a bundle.
_TOOLS = ("ptp-deploy", "torch", "onnx", "onnxscript", "onnxruntime", "compressai", "torchvision", "numpy")


@dataclass(frozen=True)
class FinishedGraph:
    """One graph with all that was made of it.

    Attributes:
        onnx: the file.
        audit: of its conversion to FP16 or INT8; None in FP32.
        engines: one a target.
    """

    onnx: OnnxGraph
    audit: PrecisionAudit | None
    engines: tuple[Engine, ...]

    @property
    def name(self) -> str:
        return self.onnx.name

    @property
    def precision(self) -> str:
        """``integer``, or the shortest of ``int8``, ``fp16`` and ``fp32`` that any layer computes in."""
        if self.onnx.integer:
            return "integer"
        return "fp32" if self.audit is None else self.audit.precision


@dataclass(frozen=True)
class BundleContent:
    """Everything that goes into a bundle.

    Attributes:
        task: with the model it came from.
        graphs: in the order of the chain.
        tables: of the entropy coder.
        accepted: sizes of coded photos that the graphs take.
        calibration: which photos tuned the precision or the integer path, as JSON values; empty if none did.
        default_rate: what encoders take unless asked otherwise; None: the spec's. Of a codec with several rates.
        integers: the entropy path in whole numbers, whose graphs are among ``graphs``; None: the float path.
        prompts: graph → the task's prompt for it, of a bundle whose tasks share that graph.
        own: what the files of this task alone are called by, such as ``.seg``; empty in a bundle of one task.
    """

    task: CheckpointTask
    graphs: Sequence[FinishedGraph]
    tables: Tables
    accepted: SizeRange
    calibration: Mapping[str, Any]
    default_rate: int | None = None
    integers: IntegerExport | None = None
    prompts: Mapping[str, bytes] = field(default_factory=dict)
    own: str = ""


def write_bundle(content: BundleContent, output: Path, *, overwrite: bool) -> Manifest:
    """Write a bundle, or nothing.

    Raises:
        UsageError: the path is taken, or cannot be written to.
        ManifestError: the parts do not fit together.
    """
    manifest, files = bundle_files(content)
    with new_directory(output, replace=overwrite) as folder:
        write_files(folder, files | {MANIFEST_NAME: json_from_manifest(manifest)})
    return manifest


def bundle_files(content: BundleContent) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a bundle, and every file that it lists, by path.

    Raises:
        UsageError, ManifestError: as :func:`write_bundle`.
    """
    tables = content.tables.to_bytes()
    gains = _gains(content.task.chain.codec)
    rates = _rates(gains, content)
    golden = b"" if content.integers is None else content.integers.golden.to_bytes()
    manifest = _manifest(content, hashlib.sha256(tables).hexdigest(), rates, golden)
    files = {manifest.entropy.tables.file: tables}
    if rates is not None:
        files[rates.file] = gains
    if manifest.entropy.golden is not None:
        files[manifest.entropy.golden.file] = golden
    for graph, entry in zip(content.graphs, manifest.graphs, strict=True):
        files[entry.file] = graph.onnx.data
        if entry.prompt is not None:
            files[entry.prompt.file] = content.prompts[graph.name]
        for engine in graph.engines:
            files[engine_file(Path(entry.file).stem, engine.target.name)] = engine.data
    return manifest, files


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by path, the manifest last: without it there is no bundle."""
    for name in sorted(files, key=lambda name: name == MANIFEST_NAME):
        _write(folder / name, files[name])


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _gains(codec: FeatureCodec) -> bytes:
    """The file of gains; empty where the codec has one rate."""
    rows = [gain[0, :, 0, 0].numpy() for rate in range(codec.spec.rates) if (gain := codec.gain(rate)) is not None]
    return RateGains(np.stack(rows)).to_bytes() if rows else b""


def _rates(gains: bytes, content: BundleContent) -> RatesInfo | None:
    spec, wanted = content.task.chain.codec.spec, content.default_rate
    count = spec.rates
    if wanted is not None and not 0 <= wanted < count:
        raise UsageError(
            "the default rate does not exist",
            expected=f"a number from 0 to {count - 1}: the checkpoint has {count} rates",
            got=str(wanted),
            hint="give another --default-rate, or leave it out",
        )
    if not gains:
        return None
    default = spec.usual_rate if wanted is None else wanted
    return RatesInfo("rates.bin", hashlib.sha256(gains).hexdigest(), count, default)


def _manifest(content: BundleContent, tables_sha256: str, rates: RatesInfo | None, golden: bytes) -> Manifest:
    codec, teacher = content.task.chain.codec, content.task.chain.teacher
    spec = codec.spec
    graphs = tuple(graph_entry(graph, content.own, content.prompts.get(graph.name)) for graph in content.graphs)
    digests = {graph.name: graph.sha256 for graph in graphs}
    schedule = tuple(ScheduleEntry(step.name, step.channels, step.region) for step in codec.context.schedule)
    probability_bits = content.tables.probability_bits
    mode = "float" if content.integers is None else "integer"
    return Manifest(
        task=task_info(content.task.name, teacher),
        model=ModelInfo(spec.to_dict(), content.task.digest),
        feature=FeatureInfo(spec.F, FEATURE_STRIDE),
        preprocessing=preprocessing(content.accepted, teacher, spec),
        entropy=EntropyInfo(
            mode=mode,
            identity=entropy_identity(
                mode=mode,
                tables_sha256=tables_sha256,
                probability_bits=probability_bits,
                skip_index=spec.skip_index,
                rates_sha256=None if rates is None else rates.sha256,
                hyper_sha256=digests["hyper"],
                schedule=schedule,
                step_sha256=[digests[step.graph] for step in schedule],
            ),
            tables=FileEntry("tables.bin", tables_sha256),
            probability_bits=probability_bits,
            skip_index=spec.skip_index,
            latent_channels=spec.M,
            hyper_channels=spec.Z,
            schedule=schedule,
            rates=rates,
            golden=FileEntry(f"golden{content.own}.bin", hashlib.sha256(golden).hexdigest()) if golden else None,
        ),
        graphs=graphs,
        engines=tuple(
            engine_entry(graph.name, graph.onnx.role, graph.precision, engine, Path(_file(graph, content.own)).stem)
            for graph in content.graphs
            for engine in graph.engines
        ),
        tools=tool_versions() | {e.target.module: e.version for graph in content.graphs for e in graph.engines},
        audit=_audit(content),
    )


def graph_entry(graph: FinishedGraph, own: str = "", prompt: bytes | None = None) -> GraphEntry:
    """The manifest's entry of a graph.

    Args:
        graph: as exported.
        own: see :class:`BundleContent`.
        prompt: the file that holds the task's prompt for it; None: it has none, or holds it itself.
    """
    data, entry, inputs = graph.onnx.data, None, graph.onnx.inputs
    if prompt is not None:
        path = f"prompts/{graph.name}{own}.bin"
        entry = PromptEntry(path, hashlib.sha256(prompt).hexdigest(), graph.onnx.sha256)
        taken = prompt_from_bytes(prompt, path)
        inputs = tuple(spec for spec in inputs if spec.name not in taken)
        data += prompt
    return GraphEntry(
        name=graph.name,
        role=graph.onnx.role,
        file=_file(graph, own),
        sha256=hashlib.sha256(data).hexdigest(),
        precision=graph.precision,
        inputs=tuple(_tensor(spec) for spec in inputs),
        outputs=tuple(_tensor(spec) for spec in graph.onnx.outputs),
        prompt=entry,
    )


def _file(graph: FinishedGraph, own: str) -> str:
    """Of the graph: that of a head is its task's alone."""
    return f"graphs/{graph.name}{own if graph.onnx.role == 'head' else ''}.onnx"


def _tensor(spec: TensorSpec) -> TensorInfo:
    return TensorInfo(spec.name, spec.dtype, spec.dims)


def preprocessing(accepted: SizeRange, teacher: Teacher | None, spec: ModelSpec) -> Preprocessing:
    """How a photo becomes the input of the analysis graph, for one task."""
    (low_h, low_w), (high_h, high_w) = accepted.smallest.blocks, accepted.largest.blocks
    return Preprocessing(
        multiple=PAD_MULTIPLE,
        lead_multiple=spec.lead_multiple,
        pad="edge",
        channels="RGB",
        value_range=(0.0, 1.0),
        height=(low_h * PAD_MULTIPLE, high_h * PAD_MULTIPLE),
        width=(low_w * PAD_MULTIPLE, high_w * PAD_MULTIPLE),
        resize=declared_resize(teacher),
        teacher_mean=spec.image_mean,
        teacher_std=spec.image_std,
    )


def _audit(content: BundleContent) -> dict[str, Any]:
    graphs: dict[str, Any] = {
        graph.name: {"onnx_bytes": len(graph.onnx.data)}
        | ({} if graph.audit is None else {"precision": graph.audit.to_dict()})
        for graph in content.graphs
    }
    engines = {
        engine_file(Path(_file(graph, content.own)).stem, engine.target.name): engine_audit(engine)
        for graph in content.graphs
        for engine in graph.engines
    }
    entropy = {} if content.integers is None else {"entropy": content.integers.audit()}
    return {"graphs": graphs, "engines": engines, **entropy, "calibration": dict(content.calibration)}


def tool_versions() -> dict[str, str]:
    """Versions of the installed packages that shape a bundle's files."""
    found = {}
    for name in _TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an editable checkout on the path has no metadata; nothing to record
    return found
