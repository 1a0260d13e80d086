"""The golden test on ONNX Runtime: layers by name, and the CPU in the place of a backend that is not exact."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ptp_runtime.backends import BACKEND_NAMES, selection
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError, InexactBackendError
from ptp_runtime.golden.gate import examine_backends, open_graphs
from ptp_runtime.manifest import Manifest, json_from_manifest, manifest_from_json
from ptp_runtime.manifest.checks import entropy_identity
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.selftest.pocket_golden import pocket_golden
from ptp_runtime.selftest.pocket_model import PocketModel
from ptp_runtime.session import Session

pytestmark = pytest.mark.runtime

pytest.importorskip("onnxruntime")

from ptp_runtime.backends.onnxruntime_backend import (  # noqa: E402 - only where onnxruntime is installed
    OnnxRuntimeBackend,
    model_with_outputs,
)


def _load(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"no module at {path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


by_hand = _load("onnx_by_hand")
PHOTO = np.random.default_rng(0).integers(0, 256, (130, 150, 3), dtype=np.uint8)
GRAPHS = ("hyper", "step_00", "step_01", "step_02", "step_03")


def write_onnx_bundle(folder: Path, changes: dict[str, dict[str, float]] | None = None) -> Path:
    """The pocket bundle with real ONNX files as its entropy graphs; the golden test stays the pocket model's.

    Args:
        folder: to create.
        changes: by graph and layer, see ``onnx_by_hand.file``.
    """
    write_pocket_bundle(folder, task="view", mode="integer")
    manifest = manifest_from_json((folder / "manifest.json").read_bytes())
    files = {name: by_hand.file(name, (changes or {}).get(name)) for name in GRAPHS}
    graphs = []
    for graph in manifest.graphs:
        if graph.name in files:
            (folder / graph.file).write_bytes(files[graph.name])
            graph = dataclasses.replace(graph, sha256=hashlib.sha256(files[graph.name]).hexdigest())
        graphs.append(graph)
    (folder / "manifest.json").write_bytes(json_from_manifest(_sealed(manifest, tuple(graphs))))
    return folder


def _sealed(manifest: Manifest, graphs: tuple[Any, ...]) -> Manifest:
    digests = {graph.name: graph.sha256 for graph in graphs}
    entropy = manifest.entropy
    identity = entropy_identity(
        mode=entropy.mode,
        tables_sha256=entropy.tables.sha256,
        probability_bits=entropy.probability_bits,
        skip_index=entropy.skip_index,
        hyper_sha256=digests["hyper"],
        schedule=entropy.schedule,
        step_sha256=[digests[step.graph] for step in entropy.schedule],
    )
    return dataclasses.replace(manifest, graphs=graphs, entropy=dataclasses.replace(entropy, identity=identity))


class Mixed(PocketBackend):
    """Analysis, synthesis and head in numpy, the entropy graphs in ONNX Runtime on the CPU.

    Args:
        name: what it calls itself.
        spoil: what it does to the outputs of each entropy graph, by name.
    """

    def __init__(self, name: str = "cpu", spoil: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None) -> None:
        super().__init__()
        self._name = name
        self._spoil = spoil
        self._real = OnnxRuntimeBackend("cpu", 1)
        self.closed: list[str] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def provider(self) -> str:
        return f"a machine called {self._name}"

    def load(self, bundle: Bundle, graph: Any) -> Any:
        if graph.role != "entropy":
            return super().load(bundle, graph)
        loaded = self._real.load(bundle, graph)
        run, spoil = loaded.run, self._spoil
        if spoil is not None:
            loaded.run = lambda inputs: spoil(graph.name, run(inputs))  # type: ignore[method-assign]
        loaded.close = lambda: self.closed.append(graph.name)  # type: ignore[method-assign]
        return loaded

    def load_layers(self, bundle: Bundle, graph: Any, layers: Any) -> Any:
        return self._real.load_layers(bundle, graph, layers)


def one_more(graph: str, output: str) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """One value of one output is one larger."""

    def spoil(name: str, found: dict[str, Any]) -> dict[str, Any]:
        if name != graph:
            return found
        changed = found[output].copy()
        changed.flat[3] += 1
        return {**found, output: changed}

    return spoil


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With exact ONNX files."""
    return Bundle.open(write_onnx_bundle(tmp_path_factory.mktemp("onnx") / "bundle"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine that has the given backends and no others."""

    def build(**backends: Mixed) -> None:
        def absent(_: int | None) -> Any:
            raise BackendNotAvailableError("not here")

        def opener(backend: Mixed) -> Callable[[int | None], Mixed]:
            return lambda _: backend

        openers = {
            name: opener(backends[name]) if name in backends else absent for name in BACKEND_NAMES if name != "auto"
        }
        monkeypatch.setattr(selection, "_OPENERS", openers)
        monkeypatch.setattr(selection, "_open_cpu", openers["cpu"])

    return build


def test_onnxruntime_computes_the_pocket_path_exactly(bundle: Bundle) -> None:
    with Session.open(bundle, backend=Mixed()) as session:
        assert session.golden is not None
        assert session.golden.exact
        assert session.golden.digest == pocket_golden(PocketModel("view", "checkerboard", "integer")).digest


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_the_number_of_threads_does_not_matter(bundle: Bundle, threads: int) -> None:
    mixed = Mixed()
    mixed._real = OnnxRuntimeBackend("cpu", threads)

    with Session.open(bundle, backend=mixed) as session:
        assert session.encode(PHOTO) == Session.open(bundle, backend=Mixed()).encode(PHOTO)


@pytest.mark.parametrize(
    ("graph", "layer", "change"),
    [
        ("hyper", "hyper/0", 2.0**-3),
        ("hyper", "hyper/mu", 2.0**-8),
        ("step_01", "step_01/0", 2.0**-6),
        ("step_01", "step_01/index", 2.0**-14),
        ("step_02", "step_02/mean", 2.0**-8),
        ("step_02", "step_02/context", 2.0**-9),
    ],
)
def test_a_weight_that_is_off_by_one_is_found_by_its_layer(
    tmp_path: Path, graph: str, layer: str, change: float
) -> None:
    """All weights of one output are one unit larger in the file; the stored results are those of the right ones."""
    spoiled = write_onnx_bundle(tmp_path / "bundle", {graph: {layer: change}})
    if layer == "hyper/mu":  # in front of the synthesis alone: nothing of the entropy path changes
        Session.open(spoiled, backend=Mixed()).close()
        return

    with pytest.raises(InexactBackendError) as caught:
        Session.open(spoiled, backend=Mixed())

    assert (caught.value.graph, caught.value.layer) == (graph, layer)
    assert f"layer {layer!r}" in str(caught.value)


def test_inner_tensors_become_outputs_by_appending_bytes(bundle: Bundle) -> None:
    entry = bundle.manifest.graph("step_00")
    backend = OnnxRuntimeBackend("cpu", 1)
    names = ("step_00/0", "step_00/mean")
    inputs = {"part_00": np.ones((1, 6, 4, 4), np.float32), "y_int": np.ones((1, 8, 4, 4), np.float32)}

    found = backend.load_layers(bundle, entry, names).run(inputs)

    plain = backend.load(bundle, entry).run(inputs)
    assert set(found) == set(plain) | set(names)
    assert all(np.array_equal(found[name], plain[name]) for name in plain)
    assert np.array_equal(found["step_00/mean"].astype(np.int16), plain["mean"])
    model = bundle.read(entry)
    assert model_with_outputs(model, ()) == model + b"\x3a\x00"
    assert model_with_outputs(model, ("ab",)) == model + b"\x3a\x06\x62\x04\x0a\x02ab"


def test_auto_lets_the_cpu_take_the_entropy_path(
    bundle: Bundle, machine: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    gpu, cpu = Mixed("cuda", one_more("step_02", "mean")), Mixed("cpu")
    machine(cuda=gpu, cpu=cpu)

    with caplog.at_level(logging.WARNING, logger="ptp_runtime"), Session.open(bundle, backend="auto") as session:
        choice, data = session.backend, session.encode(PHOTO)
        assert session.golden is not None
        assert session.golden.backend == "cpu"

    assert (choice.backend.name, choice.entropy.name) == ("cuda", "cpu")
    assert "cuda is the first that works here" in choice.reason
    assert "entropy path on the CPU: a machine called cuda does not compute" in choice.reason
    assert "graph 'step_02'" in choice.reason
    assert sorted(gpu.closed) == sorted(GRAPHS), "what was replaced was not freed"
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert "a machine called cuda does not compute" in messages[0]
    assert data == Session.open(bundle, backend=Mixed()).encode(PHOTO)


def test_an_exact_gpu_keeps_the_entropy_path(bundle: Bundle, machine: Callable[..., None]) -> None:
    machine(cuda=Mixed("cuda"), cpu=Mixed("cpu"))

    with Session.open(bundle) as session:
        assert (session.backend.backend.name, session.backend.entropy.name) == ("cuda", "cuda")
        assert session.golden is not None
        assert session.golden.provider == "a machine called cuda"


@pytest.mark.parametrize(
    ("backend", "inexact", "refused"),
    [
        ("auto", "auto", False),
        ("auto", "cpu", False),
        ("auto", "refuse", True),
        ("cuda", "auto", True),
        ("cuda", "cpu", False),
        ("cuda", "refuse", True),
    ],
)
def test_the_policy_says_who_is_refused(
    bundle: Bundle, machine: Callable[..., None], backend: str, inexact: str, refused: bool
) -> None:
    machine(cuda=Mixed("cuda", one_more("hyper", "part_01")), cpu=Mixed("cpu"))
    streams = Session.open(bundle, backend=Mixed()).encode(PHOTO)

    if refused:
        with pytest.raises(InexactBackendError, match="a machine called cuda") as caught:
            Session.open(bundle, backend=backend, inexact=inexact)
        assert (caught.value.backend, caught.value.graph) == ("cuda", "hyper")
        return
    with Session.open(bundle, backend=backend, inexact=inexact) as session:
        assert session.backend.entropy.name == "cpu"
        assert session.encode(PHOTO) == streams


def test_a_backend_object_can_be_replaced_when_asked(bundle: Bundle) -> None:
    """By ONNX Runtime on the CPU itself: the files are real ones."""
    with Session.open(bundle, backend=Mixed("mine", one_more("step_00", "index")), inexact="cpu") as session:
        assert session.backend.backend.name == "mine"
        assert session.backend.entropy.provider.startswith("ONNX Runtime")
        assert session.encode(PHOTO) == Session.open(bundle, backend=Mixed()).encode(PHOTO)


@pytest.mark.parametrize("inexact", ["auto", "cpu", "refuse"])
def test_a_cpu_that_is_not_exact_is_refused_in_any_case(
    bundle: Bundle, machine: Callable[..., None], inexact: str
) -> None:
    machine(cpu=Mixed("cpu", one_more("step_03", "mean")))

    with pytest.raises(InexactBackendError, match="another version of onnxruntime") as caught:
        Session.open(bundle, backend="auto", inexact=inexact)

    assert caught.value.backend == "cpu"


def test_the_cpu_that_takes_over_is_tested_too(bundle: Bundle, machine: Callable[..., None]) -> None:
    gpu, cpu = Mixed("cuda", one_more("step_02", "mean")), Mixed("cpu", one_more("step_01", "mean"))
    machine(cuda=gpu, cpu=cpu)

    with pytest.raises(InexactBackendError, match="a machine called cpu") as caught:
        Session.open(bundle)

    assert caught.value.graph == "step_01"
    assert sorted(cpu.closed) == sorted(gpu.closed) == sorted(GRAPHS)


def test_every_backend_of_the_machine_is_examined(bundle: Bundle, machine: Callable[..., None]) -> None:
    machine(cuda=Mixed("cuda", one_more("step_02", "mean")), cpu=Mixed("cpu"))

    found = {one.backend: one for one in examine_backends(bundle)}

    assert list(found) == list(BACKEND_NAMES[1:])
    assert "has no engines" in found["tensorrt"].sentence()
    assert found["cpu"].result is not None
    assert found["cpu"].sentence().startswith(f"exact, digest {found['cpu'].result.expected[:16]}")
    assert found["cuda"].result is not None
    assert not found["cuda"].result.exact
    assert "NOT exact (graph 'step_02'" in found["cuda"].sentence()
    assert "mean: 1 of" in found["cuda"].sentence()


def test_a_backend_that_is_absent_is_said_to_be(bundle: Bundle, machine: Callable[..., None]) -> None:
    machine()

    assert [one.sentence() for one in examine_backends(bundle)][2:] == ["not tested: not here"] * 4


def test_opening_the_graphs_gives_the_result(bundle: Bundle, machine: Callable[..., None]) -> None:
    machine(cpu=Mixed("cpu"))

    graphs, result = open_graphs(bundle, "cpu", None)

    assert result is not None
    assert result.exact
    graphs.close()
