"""What a manifest says: frozen dataclasses, and the check that their parts fit together.

``docs/bundle-format.md`` is the contract. Everything here is pure. The exporter builds a :class:`Manifest` and the
runtime gets one from :func:`~ptp_runtime.manifest.manifest_from_json`; either way it is checked as a whole when it
is made, so that what cannot be read is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptp_runtime.errors import ManifestError
from ptp_runtime.manifest.resize import DeclaredResize
from ptp_runtime.manifest.tasks import TaskInfo

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"

ROLES = ("analysis", "entropy", "synthesis", "head")
PRECISIONS = ("fp32", "fp16", "int8", "integer")
TARGETS = ("tensorrt", "tensorrt-rtx")
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")
PROOF_LEVELS = ("graph", "network", "engine")
"""What an engine's precision was read from: the ONNX file, the builder's network, or the engine itself on a device."""
COMPATIBILITIES = ("hardware", "version")
ENTROPY_MODES = ("float", "integer")
SIDES = ("both", "encoder", "decoder")
"""What a bundle can do: an encoder's has no synthesis and no head, a decoder's no analysis."""
SIDE_ROLES = {
    "both": ("analysis", "synthesis", "head"),
    "encoder": ("analysis",),
    "decoder": ("synthesis", "head"),
}
"""Roles of which each side has exactly one graph, beside the entropy path."""
REGIONS = ("all", "anchor", "nonanchor", "top-left", "bottom-left", "top-right", "bottom-right")
HYPER_GRAPH = "hyper"
"""Name of the entropy graph that turns the decoded hyper-latent into the hyper parameters."""


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
class PromptEntry:
    """The prompt of a task for one graph whose other weights it shares with other tasks.

    Attributes:
        file: path relative to the bundle; read by :func:`~ptp_runtime.prompt_file.prompt_from_bytes`.
        sha256: of that file, in hex.
        bare_sha256: of the graph's own file, which takes the prompt's tensors as inputs.
    """

    file: str
    sha256: str
    bare_sha256: str


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX graph.

    Attributes:
        name: unique in the bundle; ``analysis``, ``hyper``, ``step_00`` …, ``synthesis``, ``head``.
        role: one of :data:`ROLES`. Graphs of the role ``entropy`` are never converted.
        file: path relative to the bundle.
        sha256: of the file, in hex; of the file and the prompt's behind it where there is a prompt.
        precision: one of :data:`PRECISIONS`; that of the arithmetic inside, not of the inputs and outputs.
        inputs: in the graph's order, without those of the prompt.
        outputs: in the graph's order.
        prompt: of the task; None where its weights are in the graph's file, or it has none.
    """

    name: str
    role: str
    file: str
    sha256: str
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    prompt: PromptEntry | None = None

    def stored(self) -> tuple[FileEntry, ...]:
        """The files it is kept in."""
        if self.prompt is None:
            return (FileEntry(self.file, self.sha256),)
        return (FileEntry(self.file, self.prompt.bare_sha256), FileEntry(self.prompt.file, self.prompt.sha256))


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
        proof: the highest of :data:`PROOF_LEVELS` at which its precision was found as asked; empty: of an older
            exporter, or the graph is FP32 and nothing is asked.
        asked: precision → node → the node's share of the graph's multiply-accumulates, of every layer.
        compatible: which of :data:`COMPATIBILITIES` it was built with, if any.
        stripped: it holds no weights; they come from the graph's file when it is loaded.
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
    proof: str = ""
    asked: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    compatible: tuple[str, ...] = ()
    stripped: bool = False


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
class RatesInfo:
    """The rates that one bundle serves.

    Attributes:
        file, sha256: the gains, read by :class:`~ptp_runtime.rate_gains.RateGains`.
        count: how many; rate 0 takes the fewest bits.
        default: the one that an encoder takes unless asked for another.
    """

    file: str
    sha256: str
    count: int
    default: int


@dataclass(frozen=True)
class EntropyInfo:
    """What two machines must share to read each other's streams.

    Attributes:
        mode: ``float`` (the float graphs, exact only between equal backends) or ``integer``.
        identity: :func:`~ptp_runtime.manifest.checks.entropy_identity` of this bundle, 64 hex digits; its first 32
            bits stand in every stream.
        tables: the file of integer frequency tables.
        probability_bits: log2 of the tables' total.
        skip_index: symbols whose scale index is below this are not coded and are 0.
        latent_channels: channels of y.
        hyper_channels: channels of z.
        schedule: in coding order.
        rates: None where the bundle has one rate only.
        golden: the golden test of an integer path (:class:`~ptp_runtime.golden.GoldenTest`); None where there is none.
    """

    mode: str
    identity: str
    tables: FileEntry
    probability_bits: int
    skip_index: int
    latent_channels: int
    hyper_channels: int
    schedule: tuple[ScheduleEntry, ...]
    rates: RatesInfo | None = None
    golden: FileEntry | None = None


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
class Preprocessing:
    """How a photo becomes the input of the analysis graph.

    Attributes:
        multiple: the coded image is padded right and bottom to a multiple of this (64).
        lead_multiple: before that, it is padded at the top and left to a multiple of this. 4 where the teacher's
            strided convolutions pad as TensorFlow does, which ties the grid of features to the far corner; else 1.
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
    lead_multiple: int
    pad: str
    channels: str
    value_range: tuple[float, float]
    height: tuple[int, int]
    width: tuple[int, int]
    resize: DeclaredResize | None
    teacher_mean: tuple[float, ...]
    teacher_std: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """All that a runtime needs to know of a bundle; see the module's docstring.

    Attributes:
        tools: versions of the libraries that made the bundle, for information.
        audit: per graph name, what the exporter found out (precision audit, parity limits); free-form.
        others: further tasks of the bundle → the manifest of each, a file of the same form as this one.
        sharing: what a further task has to keep to; None where the tasks share no graph.
        side: one of :data:`SIDES`.
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
    others: Mapping[str, FileEntry] = field(default_factory=dict)
    sharing: FileEntry | None = None
    side: str = "both"

    def __post_init__(self) -> None:
        # Here, and not at the top: the checks are about these very classes.
        from ptp_runtime.manifest.checks import check_whole

        check_whole(self)

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
            *([] if (rates := self.entropy.rates) is None else [FileEntry(rates.file, rates.sha256)]),
            *([] if self.entropy.golden is None else [self.entropy.golden]),
            *(file for graph in self.graphs for file in graph.stored()),
            *(FileEntry(engine.file, engine.sha256) for engine in self.engines),
            *self.others.values(),
            *([] if self.sharing is None else [self.sharing]),
        )
