"""The check that the parts of a manifest fit together, and the identity of its entropy path. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ptp_runtime.errors import ManifestError
from ptp_runtime.manifest.model import HYPER_GRAPH, MANIFEST_NAME, SIDE_ROLES, GraphEntry, Manifest, ScheduleEntry
from ptp_runtime.rate_gains import MAX_RATES, MIN_RATES

_PARTITIONS = (
    frozenset({"all"}),
    frozenset({"anchor", "nonanchor"}),
    frozenset({"top-left", "bottom-left", "top-right", "bottom-right"}),
)
_HEAD_OUTPUTS = {
    "view": {"image": "float32"},
    "seg": {"logits": "float32"},
    "det": {"cls_logits": "float32", "box_deltas": "float32"},
    "cls": {"logits": "float32"},
}


def entropy_identity(
    *,
    mode: str,
    tables_sha256: str,
    probability_bits: int,
    skip_index: int,
    hyper_sha256: str,
    schedule: Sequence[ScheduleEntry],
    step_sha256: Sequence[str],
    rates_sha256: str | None = None,
) -> str:
    """The identity of an entropy path: two bundles that share it read each other's streams.

    SHA-256 over a text of one line per fact (``docs/bundle-format.md`` gives it byte by byte): the mode, the
    tables, the skip threshold, the hyper graph and each step's place and graph. The task's hyper-prompts are
    inside the hyper graph; analysis, synthesis and head do not enter, so changing them keeps old streams readable.

    Args:
        step_sha256: digests of the steps' graphs, in the order of ``schedule``.
        rates_sha256: digest of the gains, where there are several rates.
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
        *([] if rates_sha256 is None else [f"rates {rates_sha256}"]),
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


def check_whole(manifest: Manifest) -> None:
    """Refuse a manifest whose parts do not fit together, whoever made it."""
    _check_unique("graph name", [graph.name for graph in manifest.graphs])
    by_file: dict[str, str] = {}
    for entry in manifest.files():
        check_path(entry.file, "file")
        # Two graphs with equal bytes may share a file; one file with two digests cannot exist.
        if by_file.setdefault(entry.file, entry.sha256) != entry.sha256:
            raise ManifestError(f"the manifest gives two digests for {entry.file}", expected="one digest for each file")
    for role in SIDE_ROLES[manifest.side]:
        manifest.graph_of_role(role)
    if manifest.task.name in manifest.others:
        raise ManifestError(f"the manifest lists its own task {manifest.task.name!r} among the others")
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
    if manifest.preprocessing.multiple % manifest.preprocessing.lead_multiple:
        raise ManifestError(
            "preprocessing.lead_multiple does not divide preprocessing.multiple",
            expected=f"a divisor of {manifest.preprocessing.multiple}",
            got=str(manifest.preprocessing.lead_multiple),
        )
    if manifest.preprocessing.value_range != (0.0, 1.0):
        raise ManifestError("preprocessing.range is not the one this version knows", expected="0 to 1")
    _check_tensors(manifest)
    _check_entropy(manifest)


def _check_tensors(manifest: Manifest) -> None:
    """Each graph takes and gives what the runtime will hand it and ask of it, by name and dtype."""
    hyper = {tensor.name: "float32" for tensor in manifest.graph(HYPER_GRAPH).outputs}
    _check_steps(manifest, hyper)
    gain = {} if manifest.entropy.rates is None else {"gain": "float32"}
    for graph in manifest.graphs:
        if graph.role == "entropy" and graph.name != HYPER_GRAPH:
            continue  # a step, checked above, or listed for another reader: this one never runs it
        if graph.role == "analysis":
            inputs, outputs = {"image": "float32"} | gain, {"y": "float32", "z": "float32"}
        elif graph.name == HYPER_GRAPH:
            inputs, outputs = {"z_hat": "float32"}, {}
        elif graph.role == "synthesis":
            inputs, outputs = hyper | {"y_int": "float32"} | gain, {"h": "float32"}
        else:
            inputs, outputs = {"h": "float32"}, _HEAD_OUTPUTS[manifest.task.name]
        _check_graph(graph, inputs, outputs)
        if graph.role in ("analysis", "synthesis") and gain:
            _check_gain(graph, manifest.entropy.latent_channels)


def _check_steps(manifest: Manifest, hyper: dict[str, str]) -> None:
    """Each step reads what is there when its turn comes, and gives nothing that is there already."""
    given = hyper | {"y_int": "float32"}
    if manifest.entropy.mode == "integer":
        # Real units, for the synthesis: a step that read them would bring back the float arithmetic.
        given.pop("mu_hyper", None)
    for step in manifest.entropy.schedule:
        graph = manifest.graph(step.graph)
        if graph.role != "entropy":
            raise ManifestError(f"the schedule names {step.graph!r}, which is no entropy graph")
        _check_graph(graph, given, {"index": "uint8", "mean": "int16"})
        for tensor in graph.outputs:
            if tensor.name in ("index", "mean"):
                continue
            if tensor.name in given or tensor.name in ("mu_hyper", "z_hat"):
                raise ManifestError(
                    f"the step {graph.name!r} gives {tensor.name!r}, which exists already",
                    expected="a name for each tensor of the entropy path",
                    hint="export the bundle again",
                )
            given[tensor.name] = tensor.dtype


def _check_gain(graph: GraphEntry, channels: int) -> None:
    """A graph that ignores the gains would code or show every rate alike."""
    shapes = [tensor.shape for tensor in graph.inputs if tensor.name == "gain"]
    if shapes != [(1, channels, 1, 1)]:
        raise ManifestError(
            f"the bundle has several rates, but the graph {graph.name!r} does not take their gains",
            expected=f"an input gain [1, {channels}, 1, 1]",
            got=", ".join(f"{tensor.name} {tensor.shape}" for tensor in graph.inputs),
            hint="export the bundle again",
        )


def _check_graph(graph: GraphEntry, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    _check_unique(f"input of the graph {graph.name!r}:", [tensor.name for tensor in graph.inputs])
    _check_unique(f"output of the graph {graph.name!r}:", [tensor.name for tensor in graph.outputs])
    given = {tensor.name: tensor.dtype for tensor in graph.inputs}
    photo = [tensor for tensor in graph.inputs if tensor.name != "gain"]
    if graph.role in ("analysis", "head") and (len(photo) != 1 or len(photo[0].shape) != 4):
        raise ManifestError(
            f"the graph {graph.name!r} takes other inputs than the runtime has",
            expected="one input of four axes",
            got=", ".join(f"{tensor.name} {tensor.shape}" for tensor in graph.inputs) or "none",
        )
    if not given or any(inputs.get(name) != dtype for name, dtype in given.items()):
        raise ManifestError(
            f"the graph {graph.name!r} takes inputs that the runtime does not have",
            expected="some of " + ", ".join(f"{name} {dtype}" for name, dtype in inputs.items()),
            got=", ".join(f"{name} {dtype}" for name, dtype in given.items()) or "none",
        )
    found = {tensor.name: tensor.dtype for tensor in graph.outputs}
    if not found or any(found.get(name) != dtype for name, dtype in outputs.items()):
        raise ManifestError(
            f"the graph {graph.name!r} does not give what the runtime needs",
            expected=", ".join(f"{name} {dtype}" for name, dtype in outputs.items()) or "an output",
            got=", ".join(f"{name} {dtype}" for name, dtype in found.items()) or "none",
        )


def _check_unique(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ManifestError(f"the manifest lists the {what} {name!r} twice", expected="each once")


def _check_entropy(manifest: Manifest) -> None:
    entropy = manifest.entropy
    if entropy.rates is not None and not MIN_RATES <= entropy.rates.count <= MAX_RATES:
        raise ManifestError(
            "entropy.rates.count is out of range", expected=f"{MIN_RATES} to {MAX_RATES}", got=str(entropy.rates.count)
        )
    if entropy.rates is not None and not 0 <= entropy.rates.default < entropy.rates.count:
        raise ManifestError(
            "entropy.rates.default is no rate of the bundle",
            expected=f"0 to {entropy.rates.count - 1}",
            got=str(entropy.rates.default),
        )
    if entropy.golden is not None and entropy.mode != "integer":
        raise ManifestError(
            "entropy.golden belongs to an integer entropy path only",
            expected="null in the mode " + entropy.mode,
            got=entropy.golden.file,
        )
    covered: dict[int, set[str]] = {channel: set() for channel in range(entropy.latent_channels)}
    for step in entropy.schedule:
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
        rates_sha256=None if entropy.rates is None else entropy.rates.sha256,
    )
    if entropy.identity != expected:
        raise ManifestError(
            "entropy.identity does not belong to the entropy path of this manifest",
            expected=f"{expected[:16]}…",
            got=f"{entropy.identity[:16]}…",
            hint="export the bundle again",
        )
