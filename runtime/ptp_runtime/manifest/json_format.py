"""The manifest as bytes: JSON in, frozen dataclasses out, and back.

The last field, ``manifest_sha256``, is the SHA-256 of the file's own bytes with its 64 digits replaced by
zeros. The manifest protects the other files; this protects the manifest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from ptp_runtime.errors import AlteredFileError, ManifestError
from ptp_runtime.manifest.checks import check_path
from ptp_runtime.manifest.model import (
    COMPATIBILITIES,
    DTYPES,
    ENTROPY_MODES,
    MANIFEST_NAME,
    PRECISIONS,
    PROOF_LEVELS,
    REGIONS,
    ROLES,
    SCHEMA_VERSION,
    SIDES,
    TARGETS,
    EngineEntry,
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
    ShapeRange,
    TensorInfo,
)
from ptp_runtime.manifest.resize import read_resize
from ptp_runtime.manifest.strict_json import Fields, kind_of, parse_object
from ptp_runtime.manifest.tasks import TASK_IDS, TaskInfo
from ptp_runtime.rate_gains import MAX_RATES, MIN_RATES

MANIFEST_LIMIT = 16 << 20
"""Largest manifest that is read, bytes: a real one has some tens of kB."""

_ZERO_DIGEST = "0" * 64


def manifest_from_json(data: bytes) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        ManifestError: unreadable, of another schema, a field missing, mistyped, unknown or impossible.
        AlteredFileError: readable, but not the bytes that the exporter wrote.
    """
    if len(data) > MANIFEST_LIMIT:
        raise ManifestError(
            f"{MANIFEST_NAME} is too large", expected=f"at most {MANIFEST_LIMIT} bytes", got=f"{len(data)} bytes"
        )
    value = parse_object(data, MANIFEST_NAME)
    version = value.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version != SCHEMA_VERSION:
        raise ManifestError(
            f"{MANIFEST_NAME} has a schema that this version does not know",
            expected=f"schema_version {SCHEMA_VERSION}",
            got="none" if "schema_version" not in value else repr(version),
            hint="use the version of ptp-deploy that wrote the bundle, or export it again",
        )
    root = Fields(value, "")
    manifest = Manifest(
        schema_version=root.integer("schema_version", SCHEMA_VERSION, SCHEMA_VERSION),
        task=TaskInfo.read(root.fields("task")),
        model=_read_model(root.fields("model")),
        feature=_read_feature(root.fields("feature")),
        preprocessing=_read_preprocessing(root.fields("preprocessing")),
        entropy=_read_entropy(root.fields("entropy")),
        graphs=root.sequence("graphs", _read_graph),
        engines=root.sequence("engines", _read_engine),
        tools=root.text_mapping("tools"),
        audit=root.mapping("audit"),
        # Absent from manifests that were written before there were bundles of several tasks, or of one side.
        others=_read_others(root.fields("tasks")) if root.has("tasks") else {},
        sharing=_read_file(root.any("sharing"), "sharing")
        if root.has("sharing") and root.any("sharing") is not None
        else None,
        side=root.one_of("side", SIDES) if root.has("side") else "both",
    )
    digest = root.digest("manifest_sha256")
    root.finish()
    actual = hashlib.sha256(data.replace(digest.encode(), _ZERO_DIGEST.encode())).hexdigest()
    if actual != digest:
        raise AlteredFileError(
            f"{MANIFEST_NAME} was changed after the export",
            expected=f"SHA-256 {digest[:16]}…",
            got=f"{actual[:16]}…",
            hint="export the bundle again, or fetch it again",
        )
    return manifest


def json_from_manifest(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json``: UTF-8, keys in the order of the contract, ending in a newline."""
    value = dict_from_manifest(manifest) | {"manifest_sha256": _ZERO_DIGEST}
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    # The zeros stand last in the document: replace from the right, a file's digest cannot be hit.
    head, _, tail = text.rpartition(_ZERO_DIGEST)
    return (head + digest + tail).encode()


def dict_from_manifest(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON values, without ``manifest_sha256``."""
    entropy, pre = manifest.entropy, manifest.preprocessing
    return {
        "schema_version": manifest.schema_version,
        "task": manifest.task.to_dict(),
        "model": {"spec": dict(manifest.model.spec), "checkpoint_sha256": manifest.model.checkpoint_sha256},
        "feature": {"channels": manifest.feature.channels, "stride": manifest.feature.stride},
        "preprocessing": {
            "multiple": pre.multiple,
            "lead_multiple": pre.lead_multiple,
            "pad": pre.pad,
            "channels": pre.channels,
            "range": list(pre.value_range),
            "height": list(pre.height),
            "width": list(pre.width),
            "resize": None if pre.resize is None else pre.resize.to_dict(),
            "teacher_mean": list(pre.teacher_mean),
            "teacher_std": list(pre.teacher_std),
        },
        "entropy": {
            "mode": entropy.mode,
            "identity": entropy.identity,
            "tables": {"file": entropy.tables.file, "sha256": entropy.tables.sha256},
            "probability_bits": entropy.probability_bits,
            "skip_index": entropy.skip_index,
            "latent_channels": entropy.latent_channels,
            "hyper_channels": entropy.hyper_channels,
            "schedule": [
                {"graph": step.graph, "channels": list(step.channels), "region": step.region}
                for step in entropy.schedule
            ],
            "rates": None
            if entropy.rates is None
            else {
                "file": entropy.rates.file,
                "sha256": entropy.rates.sha256,
                "count": entropy.rates.count,
                "default": entropy.rates.default,
            },
            "golden": None
            if entropy.golden is None
            else {"file": entropy.golden.file, "sha256": entropy.golden.sha256},
        },
        "graphs": [_graph_dict(graph) for graph in manifest.graphs],
        "engines": [_engine_dict(engine) for engine in manifest.engines],
        "tools": dict(manifest.tools),
        "audit": dict(manifest.audit),
    } | _extensions(manifest)


def _extensions(manifest: Manifest) -> dict[str, Any]:
    """Fields that only some bundles have: without them, older versions read the rest."""
    found: dict[str, Any] = {}
    if manifest.others:
        found["tasks"] = {task: {"file": entry.file, "sha256": entry.sha256} for task, entry in manifest.others.items()}
    if manifest.sharing is not None:
        found["sharing"] = {"file": manifest.sharing.file, "sha256": manifest.sharing.sha256}
    if manifest.side != "both":
        found["side"] = manifest.side
    return found


def _read_others(f: Fields) -> dict[str, FileEntry]:
    others = {}
    for task in f.names():
        if task not in TASK_IDS:
            raise ManifestError(f"{f.path(task)} is no task", expected=", ".join(TASK_IDS), got=repr(task))
        others[task] = _read_file(f.any(task), f.path(task))
    f.finish()
    return others


def _read_model(f: Fields) -> ModelInfo:
    info = ModelInfo(spec=f.mapping("spec"), checkpoint_sha256=f.digest("checkpoint_sha256"))
    f.finish()
    return info


def _read_feature(f: Fields) -> FeatureInfo:
    info = FeatureInfo(channels=f.integer("channels", 1, 65535), stride=f.integer("stride", 4, 4))
    f.finish()
    return info


def _read_preprocessing(f: Fields) -> Preprocessing:
    resize = None if f.any("resize") is None else read_resize(f.fields("resize"))
    low, high = f.numbers("range", 2, 0.0, 1.0)
    height, width = f.integers("height", 2, 64, 4096), f.integers("width", 2, 64, 4096)
    info = Preprocessing(
        multiple=f.integer("multiple", 64, 64),
        lead_multiple=f.integer("lead_multiple", 1, 4),
        pad=f.one_of("pad", ("edge",)),
        channels=f.one_of("channels", ("RGB",)),
        value_range=(low, high),
        height=(height[0], height[1]),
        width=(width[0], width[1]),
        resize=resize,
        teacher_mean=f.numbers("teacher_mean", 3, -1e6, 1e6),
        teacher_std=f.numbers("teacher_std", 3, -1e6, 1e6),
    )
    f.finish()
    return info


def _read_entropy(f: Fields) -> EntropyInfo:
    info = EntropyInfo(
        mode=f.one_of("mode", ENTROPY_MODES),
        identity=f.digest("identity"),
        tables=_read_file(f.any("tables"), f.path("tables")),
        probability_bits=f.integer("probability_bits", 12, 12),
        skip_index=f.integer("skip_index", 0, 64),
        latent_channels=f.integer("latent_channels", 1, 65535),
        hyper_channels=f.integer("hyper_channels", 1, 65535),
        schedule=f.sequence("schedule", _read_step),
        # Absent from manifests that were written before there were several rates.
        rates=_read_rates(f.fields("rates")) if f.has("rates") and f.any("rates") is not None else None,
        # Absent from manifests that were written before there was an integer path.
        golden=_read_file(f.any("golden"), f.path("golden"))
        if f.has("golden") and f.any("golden") is not None
        else None,
    )
    f.finish()
    return info


def _read_rates(f: Fields) -> RatesInfo:
    info = RatesInfo(
        file=check_path(f.text("file"), f.path("file")),
        sha256=f.digest("sha256"),
        count=f.integer("count", MIN_RATES, MAX_RATES),
        default=f.integer("default", 0, MAX_RATES),
    )
    f.finish()
    return info


def _read_file(value: Any, where: str) -> FileEntry:
    f = Fields(value, where)
    entry = FileEntry(file=check_path(f.text("file"), f.path("file")), sha256=f.digest("sha256"))
    f.finish()
    return entry


def _read_step(value: Any, where: str) -> ScheduleEntry:
    f = Fields(value, where)
    start, stop = f.integers("channels", 2, 0, 65535)
    step = ScheduleEntry(graph=f.text("graph"), channels=(start, stop), region=f.one_of("region", REGIONS))
    f.finish()
    return step


def _read_tensor(value: Any, where: str) -> TensorInfo:
    f = Fields(value, where)
    info = TensorInfo(name=f.text("name"), dtype=f.one_of("dtype", DTYPES), shape=f.sequence("shape", _read_length))
    f.finish()
    return info


def _read_length(value: Any, where: str) -> int | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ManifestError(f"{where} is no length", expected="an integer or a symbolic length", got=kind_of(value))


def _read_prompt(f: Fields) -> PromptEntry:
    entry = PromptEntry(check_path(f.text("file"), f.path("file")), f.digest("sha256"), f.digest("bare_sha256"))
    f.finish()
    return entry


def _read_graph(value: Any, where: str) -> GraphEntry:
    f = Fields(value, where)
    graph = GraphEntry(
        name=f.text("name"),
        role=f.one_of("role", ROLES),
        file=check_path(f.text("file"), f.path("file")),
        sha256=f.digest("sha256"),
        precision=f.one_of("precision", PRECISIONS),
        inputs=f.sequence("inputs", _read_tensor),
        outputs=f.sequence("outputs", _read_tensor),
        prompt=_read_prompt(f.fields("prompt")) if f.has("prompt") else None,
    )
    f.finish()
    return graph


def _read_engine(value: Any, where: str) -> EngineEntry:
    f = Fields(value, where)
    profile = f.fields("profile")
    engine = EngineEntry(
        file=check_path(f.text("file"), f.path("file")),
        role=f.one_of("role", ROLES),
        graph=f.text("graph"),
        target=f.one_of("target", TARGETS),
        precision=f.one_of("precision", PRECISIONS),
        sha256=f.digest("sha256"),
        built_with=f.text("built_with"),
        devices=f.texts("devices"),
        profile={name: _read_range(profile.fields(name)) for name in f.mapping("profile")},
        # Absent from manifests that were written before the proof was recorded for each engine.
        proof=f.one_of("proof", PROOF_LEVELS) if f.has("proof") and f.any("proof") is not None else "",
        asked=_read_asked(f.fields("asked")) if f.has("asked") else {},
        compatible=f.texts("compatible") if f.has("compatible") else (),
        stripped=f.flag("stripped") if f.has("stripped") else False,
    )
    unknown = set(engine.compatible) - set(COMPATIBILITIES)
    if unknown:
        raise ManifestError(
            f"{f.path('compatible')} names no kind of compatibility",
            expected="some of " + ", ".join(COMPATIBILITIES),
            got=", ".join(sorted(unknown)),
        )
    f.finish()
    return engine


def _read_asked(f: Fields) -> dict[str, dict[str, float]]:
    """Precision → node → share."""
    asked = {}
    for precision in f.names():
        if precision not in PRECISIONS:
            raise ManifestError(
                f"{f.path(precision)} is no precision", expected=", ".join(PRECISIONS), got=repr(precision)
            )
        nodes = f.fields(precision)
        asked[precision] = {node: nodes.number(node, 0.0, 1.0) for node in nodes.names()}
        nodes.finish()
    f.finish()
    return asked


def _read_range(f: Fields) -> ShapeRange:
    lengths = [f.integers(name, None, 0, 1 << 31) for name in ("minimum", "optimum", "maximum")]
    f.finish()
    return ShapeRange(*lengths)


def _graph_dict(graph: GraphEntry) -> dict[str, Any]:
    return {
        "name": graph.name,
        "role": graph.role,
        "file": graph.file,
        "sha256": graph.sha256,
        "precision": graph.precision,
        "inputs": [_tensor_dict(t) for t in graph.inputs],
        "outputs": [_tensor_dict(t) for t in graph.outputs],
    } | ({} if graph.prompt is None else {"prompt": asdict(graph.prompt)})


def _tensor_dict(tensor: TensorInfo) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _engine_dict(engine: EngineEntry) -> dict[str, Any]:
    return {
        "file": engine.file,
        "role": engine.role,
        "graph": engine.graph,
        "target": engine.target,
        "precision": engine.precision,
        "sha256": engine.sha256,
        "built_with": engine.built_with,
        "devices": list(engine.devices),
        "profile": {
            name: {"minimum": list(r.minimum), "optimum": list(r.optimum), "maximum": list(r.maximum)}
            for name, r in engine.profile.items()
        },
        "proof": engine.proof or None,
        "asked": {precision: dict(nodes) for precision, nodes in engine.asked.items()},
        "compatible": list(engine.compatible),
        "stripped": engine.stripped,
    }
