"""What a manifest says: frozen dataclasses, and the check that their parts fit together.

``docs/bundle-format.md`` is the contract. Everything here is pure. The exporter builds a :class:`Manifest` and the
runtime gets one from :func:`~ptp_runtime.manifest.manifest_from_json`; either way it is checked as a whole when it
is made, so that what cannot be read is never written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ptp_runtime.errors import ManifestError
from ptp_runtime.manifest.tasks import TaskInfo

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"

ROLES = ("analysis", "entropy", "synthesis", "head")
PRECISIONS = ("fp32", "fp16", "int8", "integer")
TARGETS = ("tensorrt", "tensorrt-rtx")
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")
ENTROPY_MODES = ("float", "integer")
REGIONS = ("all", "anchor", "nonanchor", "top-left", "bottom-left", "top-right", "bottom-right")
HYPER_GRAPH = "hyper"
"""Name of the entropy graph that turns the decoded hyper-latent into the hyper parameters."""

_PARTITIONS = (
    frozenset({"all"}),
    frozenset({"anchor", "nonanchor"}),
    frozenset({"top-left", "bottom-left", "top-right", "bottom-right"}),
)


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a graph.

    Attributes:
        name: as in the graph.
        dtype: numpy's name of the element type, one of :data:`DTYPES`.
        shape: each entry a fixed length or a symbolic one such as ``"16*h"``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle: path relative to the bundle with ``/`` between the parts, and SHA-256 in hex."""

    file: str
    sha256: str


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX graph.

    Attributes:
        name: unique in the bundle; ``analysis``, ``hyper``, ``step_00`` …, ``synthesis``, ``head``.
        role: one of :data:`ROLES`. Graphs of the role ``entropy`` are never converted.
        file: path relative to the bundle.
        sha256: of the file, in hex.
        precision: one of :data:`PRECISIONS`; that of the arithmetic inside, not of the inputs and outputs.
        inputs: in the graph's order.
        outputs: in the graph's order.
    """

    name: str
    role: str
    file: str
    sha256: str
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class ShapeRange:
    """The shapes of one engine input that its optimisation profile covers, each of the input's rank."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]


@dataclass(frozen=True)
class EngineEntry:
    """A compiled engine that stands for one graph.

    Attributes:
        file: path relative to the bundle.
        role: the graph's.
        graph: name of the graph it was built from.
        target: one of :data:`TARGETS`.
        precision: the graph's, as audited.
        sha256: of the file, in hex.
        built_with: version of the library that built it; plans are not portable across versions.
        devices: compute capabilities it was built for, such as ``"8.9"``; empty: those of the library's default.
        profile: for each dynamic input, the shapes the engine takes.
    """

    file: str
    role: str
    graph: str
    target: str
    precision: str
    sha256: str
    built_with: str
    devices: tuple[str, ...]
    profile: Mapping[str, ShapeRange]


@dataclass(frozen=True)
class ScheduleEntry:
    """One step of the entropy path: which graph gives the parameters of which part of the latent.

    Attributes:
        graph: name of an entropy graph.
        channels: first channel and the one behind the last.
        region: one of :data:`REGIONS`; see ``docs/bundle-format.md`` for what each covers.
    """

    graph: str
    channels: tuple[int, int]
    region: str


@dataclass(frozen=True)
class EntropyInfo:
    """What two machines must share to read each other's streams.

    Attributes:
        mode: ``float`` (the float graphs, exact only between equal backends) or ``integer``.
        identity: :func:`entropy_identity` of this bundle, 64 hex digits; its first 32 bits stand in every stream.
        tables: the file of integer frequency tables.
        probability_bits: log2 of the tables' total.
        skip_index: symbols whose scale index is below this are not coded and are 0.
        latent_channels: channels of y.
        hyper_channels: channels of z.
        schedule: in coding order.
    """

    mode: str
    identity: str
    tables: FileEntry
    probability_bits: int
    skip_index: int
    latent_channels: int
    hyper_channels: int
    schedule: tuple[ScheduleEntry, ...]


@dataclass(frozen=True)
class ModelInfo:
    """Where the weights come from: the model's spec as a free-form object, and the checkpoint's SHA-256."""

    spec: Mapping[str, Any]
    checkpoint_sha256: str


@dataclass(frozen=True)
class FeatureInfo:
    """The feature tensor between codec and task network: channels, and pixels per feature element (4)."""

    channels: int
    stride: int


@dataclass(frozen=True)
class Resize:
    """The resize that a teacher declares, applied before the codec (bilinear, align_corners=False).

    Attributes:
        shorter_side: pixels that the shorter side gets …
        longer_side: … unless the longer side would then exceed this.
    """

    shorter_side: int
    longer_side: int


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes the input of the analysis graph.

    Attributes:
        multiple: the coded image is padded right and bottom to a multiple of this (64).
        pad: ``edge``: the border pixel is repeated.
        channels: ``RGB``.
        value_range: of the graph's input, (0, 1). The teacher's mean and std are inside its own graph.
        height: smallest and largest padded height that the graphs take.
        width: likewise.
        resize: None, or the resize before the codec.
        teacher_mean: what the teacher subtracts, for information.
        teacher_std: what the teacher divides by, for information.
    """

    multiple: int
    pad: str
    channels: str
    value_range: tuple[float, float]
    height: tuple[int, int]
    width: tuple[int, int]
    resize: Resize | None
    teacher_mean: tuple[float, ...]
    teacher_std: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """All that a runtime needs to know of a bundle; see the module's docstring.

    Attributes:
        tools: versions of the libraries that made the bundle, for information.
        audit: per graph name, what the exporter found out (precision audit, parity limits); free-form.
    """

    task: TaskInfo
    model: ModelInfo
    feature: FeatureInfo
    preprocessing: Preprocessing
    entropy: EntropyInfo
    graphs: tuple[GraphEntry, ...]
    engines: tuple[EngineEntry, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check_whole(self)

    def graph(self, name: str) -> GraphEntry:
        """The graph of that name; :class:`ManifestError` where there is none."""
        for graph in self.graphs:
            if graph.name == name:
                return graph
        raise ManifestError(
            f"the manifest lists no graph {name!r}", expected="one of " + ", ".join(g.name for g in self.graphs)
        )

    def graph_of_role(self, role: str) -> GraphEntry:
        """The only graph of a role (``analysis``, ``synthesis`` or ``head``)."""
        found = [graph for graph in self.graphs if graph.role == role]
        if len(found) != 1:
            raise ManifestError(f"the manifest lists {len(found)} graphs of the role {role!r}", expected="exactly one")
        return found[0]

    def files(self) -> tuple[FileEntry, ...]:
        """Every file that belongs to the bundle, the manifest itself excepted."""
        return (
            self.entropy.tables,
            *(FileEntry(graph.file, graph.sha256) for graph in self.graphs),
            *(FileEntry(engine.file, engine.sha256) for engine in self.engines),
        )


def entropy_identity(
    *,
    mode: str,
    tables_sha256: str,
    probability_bits: int,
    skip_index: int,
    hyper_sha256: str,
    schedule: Sequence[ScheduleEntry],
    step_sha256: Sequence[str],
) -> str:
    """The identity of an entropy path: two bundles that share it read each other's streams.

    SHA-256 over a text of one line per fact (``docs/bundle-format.md`` gives it byte by byte): the mode, the
    tables, the skip threshold, the hyper graph and each step's place and graph. The task's hyper-prompts are
    inside the hyper graph; analysis, synthesis and head do not enter, so changing them keeps old streams readable.

    Args:
        step_sha256: digests of the steps' graphs, in the order of ``schedule``.
    """
    if len(schedule) != len(step_sha256):
        raise ManifestError(
            "the entropy identity needs one digest for each step",
            expected=f"{len(schedule)} digests",
            got=str(len(step_sha256)),
        )
    lines = [
        "ptp entropy identity 1",
        f"mode {mode}",
        f"tables {tables_sha256}",
        f"probability_bits {probability_bits}",
        f"skip_index {skip_index}",
        f"hyper {hyper_sha256}",
    ]
    for step, digest in zip(schedule, step_sha256, strict=True):
        lines.append(f"step {step.channels[0]} {step.channels[1]} {step.region} {digest}")
    return hashlib.sha256("".join(line + "\n" for line in lines).encode("ascii")).hexdigest()


def check_path(path: str, where: str) -> str:
    """A path that stays inside the bundle on every platform, unchanged.

    Raises:
        ManifestError: absolute, with ``..``, ``.``, an empty part, a backslash, a drive, or a control character.
    """
    parts = path.split("/")
    bad = any(part in ("", ".", "..") for part in parts) or any(ord(c) < 32 or c in '\\:*?"<>|' for c in path)
    if bad or path == MANIFEST_NAME:
        raise ManifestError(
            f"the field {where} names a file outside the bundle or none at all",
            expected="a path relative to the bundle, parts separated by '/'",
            got=repr(path[:80]),
            hint="do not use this bundle",
        )
    return path


def _check_whole(manifest: Manifest) -> None:
    """Refuse a manifest whose parts do not fit together, whoever made it."""
    _check_unique("graph name", [graph.name for graph in manifest.graphs])
    by_file: dict[str, str] = {}
    for entry in manifest.files():
        check_path(entry.file, "file")
        # Two graphs with equal bytes may share a file; one file with two digests cannot exist.
        if by_file.setdefault(entry.file, entry.sha256) != entry.sha256:
            raise ManifestError(f"the manifest gives two digests for {entry.file}", expected="one digest for each file")
    for role in ("analysis", "synthesis", "head"):
        manifest.graph_of_role(role)
    for graph in manifest.graphs:
        if graph.role == "entropy" and graph.precision not in ("fp32", "integer"):
            raise ManifestError(
                f"the entropy graph {graph.name!r} was converted",
                expected="precision fp32 or integer",
                got=graph.precision,
                hint="export again: the entropy path must stay exact",
            )
    for engine in manifest.engines:
        if manifest.graph(engine.graph).role != engine.role:
            raise ManifestError(f"the engine {engine.file} has another role than its graph {engine.graph!r}")
    for name, (low, high) in (("height", manifest.preprocessing.height), ("width", manifest.preprocessing.width)):
        if low > high or low % manifest.preprocessing.multiple or high % manifest.preprocessing.multiple:
            raise ManifestError(
                f"preprocessing.{name} is no range of padded sizes",
                expected=f"two multiples of {manifest.preprocessing.multiple}, the smaller first",
                got=f"{low}, {high}",
            )
    if manifest.preprocessing.value_range != (0.0, 1.0):
        raise ManifestError("preprocessing.range is not the one this version knows", expected="0 to 1")
    _check_entropy(manifest)


def _check_unique(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ManifestError(f"the manifest lists the {what} {name!r} twice", expected="each once")


def _check_entropy(manifest: Manifest) -> None:
    entropy = manifest.entropy
    covered: dict[int, set[str]] = {channel: set() for channel in range(entropy.latent_channels)}
    for step in entropy.schedule:
        if manifest.graph(step.graph).role != "entropy":
            raise ManifestError(f"the schedule names {step.graph!r}, which is no entropy graph")
        start, stop = step.channels
        if not start < stop <= entropy.latent_channels:
            raise ManifestError(
                f"the step {step.graph!r} codes channels that do not exist",
                expected=f"a range inside 0 … {entropy.latent_channels}",
                got=f"{start} … {stop}",
            )
        for channel in range(start, stop):
            if step.region in covered[channel]:
                raise ManifestError(f"the schedule codes the region {step.region!r} of channel {channel} twice")
            covered[channel].add(step.region)
    for channel, regions in covered.items():
        if frozenset(regions) not in _PARTITIONS:
            raise ManifestError(
                f"the schedule does not code channel {channel} exactly once",
                expected="the region all, both checkerboard halves, or the four quadrants",
                got=", ".join(sorted(regions)) or "nothing",
            )
    expected = entropy_identity(
        mode=entropy.mode,
        tables_sha256=entropy.tables.sha256,
        probability_bits=entropy.probability_bits,
        skip_index=entropy.skip_index,
        hyper_sha256=manifest.graph(HYPER_GRAPH).sha256,
        schedule=entropy.schedule,
        step_sha256=[manifest.graph(step.graph).sha256 for step in entropy.schedule],
    )
    if entropy.identity != expected:
        raise ManifestError(
            "entropy.identity does not belong to the entropy path of this manifest",
            expected=f"{expected[:16]}…",
            got=f"{entropy.identity[:16]}…",
            hint="export the bundle again",
        )
