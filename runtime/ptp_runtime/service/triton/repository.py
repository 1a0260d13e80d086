"""A model repository from a bundle: one model for each operation of each task, each with all that it needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptp_runtime.atomic import new_directory
from ptp_runtime.backends.prompted_graph import bare_entry, prompt_of
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import UsageError
from ptp_runtime.manifest import EngineEntry, FileEntry, GraphEntry
from ptp_runtime.service.serve.model import OPERATIONS, VERSION, input_specs
from ptp_runtime.service.serve.outputs import Outputs
from ptp_runtime.service.triton.config_text import KINDS, Config, spec_of_graph
from ptp_runtime.splitting import copy_bundle, split_bundle
from ptp_runtime.trust import ANY, manifest_digest, require_trust

GRAPHS = ("session", "onnxruntime", "tensorrt")
"""Who runs analysis, synthesis and head: the session in the Python model, or models of their own by this backend."""

MODEL_TEXT = '''"""What Triton's Python backend runs: ptp-deploy, which must be installed in its environment."""

from ptp_runtime.service.triton.python_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''

_SIDES = {"encode": "encoder", "decode": "decoder"}


@dataclass(frozen=True)
class Layout:
    """How a repository is to be.

    Attributes:
        operations: which models each task gets.
        graphs: one of :data:`GRAPHS`.
        instances: of each model, at a time.
        kind: ``cpu`` or ``gpu``.
        prefix: before the models' names; empty for none.
        trust: who vouches for the bundle's engines; see :func:`ptp_runtime.trust.admitted`. The copies are pinned by
            their own digests.
    """

    operations: Sequence[str] = OPERATIONS
    graphs: str = "session"
    instances: int = 1
    kind: str = "cpu"
    prefix: str = ""
    trust: str | None = None

    def __post_init__(self) -> None:
        for value, known, what in (
            *((operation, OPERATIONS, "operation") for operation in self.operations),
            (self.graphs, GRAPHS, "way to run graphs"),
            (self.kind, KINDS, "kind of instance"),
        ):
            if value not in known:
                raise UsageError(f"there is no such {what}", expected=", ".join(known), got=repr(value))
        if self.instances < 1:
            raise UsageError("a model needs an instance", expected="at least 1", got=str(self.instances))


def write_repository(source: str | os.PathLike[str], output: Path, layout: Layout) -> tuple[str, ...]:
    """Write a model repository.

    Args:
        source: a bundle, of one task or several.
        output: a directory that is not there yet, or is empty.
        layout: what goes into it.

    Returns:
        The names of its models.

    Raises:
        BundleError: the bundle cannot be used, or is not the one that was vouched for.
        UsageError: it is one side of a bundle already, the output exists, or it has no engines for ``tensorrt``.
    """
    bundle = Bundle.open(source)
    if bundle.main.side != "both":
        raise UsageError(f"{source} is the {bundle.main.side}'s side alone", expected="a whole bundle")
    if layout.trust not in (None, ANY):
        require_trust(bundle, str(layout.trust))
    names: list[str] = []
    with new_directory(output) as folder:
        if layout.graphs != "session":
            names += _write_graph_models(bundle, folder, layout)
        for task in bundle.tasks:
            for operation in layout.operations:
                name = _named(layout, f"{task}_{operation}")
                _write_operation(bundle, task, operation, folder / name, layout)
                names.append(name)
    return tuple(names)


def _write_operation(bundle: Bundle, task: str, operation: str, folder: Path, layout: Layout) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    copy = version / "bundle"
    if operation in _SIDES:
        split_bundle(bundle.path, _SIDES[operation], copy)
    else:
        copy_bundle(bundle, copy)
    parameters = {"operation": operation, "task": task}
    if layout.graphs != "session":
        parameters["graphs"] = f"{layout.prefix}_" if layout.prefix else ""
    if layout.trust is not None:
        parameters["trust"] = f"sha256:{manifest_digest(Bundle.open(copy))}"
    outputs = Outputs(operation, task).specs
    config = Config(folder.name, "python", input_specs(operation), outputs, layout.instances, layout.kind, parameters)
    (folder / "config.pbtxt").write_text(config.text(), encoding="utf-8")
    (version / "model.py").write_text(MODEL_TEXT, encoding="utf-8")


def _write_graph_models(bundle: Bundle, folder: Path, layout: Layout) -> list[str]:
    """A model for each graph beside the entropy path; tasks that share a graph share its model."""
    done: dict[str, str] = {}
    for task in bundle.tasks:
        view = bundle.of_task(task)
        for entry in view.manifest.graphs:
            name = graph_model(entry, task)
            if entry.role == "entropy" or name in done:
                continue
            bare = bare_entry(entry, prompt_of(view, entry))
            model = folder / _named(layout, name)
            (model / VERSION).mkdir(parents=True)
            file = "model.onnx" if layout.graphs == "onnxruntime" else "model.plan"
            (model / VERSION / file).write_bytes(_graph_bytes(view, bare, layout))
            inputs, outputs = ([spec_of_graph(one) for one in side] for side in (bare.inputs, bare.outputs))
            config = Config(model.name, layout.graphs, inputs, outputs, layout.instances, layout.kind)
            (model / "config.pbtxt").write_text(config.text(), encoding="utf-8")
            done[name] = model.name
    return list(done.values())


def graph_model(entry: GraphEntry, task: str) -> str:
    """The name of a graph's model; of a graph with a prompt, one for all tasks."""
    return f"graph_{entry.name}" if entry.prompt is not None else f"{task}_graph_{entry.name}"


def _graph_bytes(bundle: Bundle, entry: GraphEntry, layout: Layout) -> bytes:
    if layout.graphs == "onnxruntime":
        return bundle.read(FileEntry(entry.file, entry.sha256))
    engine: EngineEntry | None = bundle.engine(entry.name, "tensorrt")
    if engine is None:
        raise UsageError(
            f"the bundle has no TensorRT engine of its graph {entry.name!r}",
            expected="engines for the target tensorrt (Triton does not load those of TensorRT for RTX)",
            hint="export with --target tensorrt, or take --graphs onnxruntime",
        )
    return bundle.read(engine)


def _named(layout: Layout, name: str) -> str:
    return f"{layout.prefix}_{name}" if layout.prefix else name
