"""Which backend is taken, why, and what happens where something is missing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptp_runtime.backends import BACKEND_NAMES, load_graphs, selection
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError, EngineError, UsageError
from ptp_runtime.manifest import EngineEntry, GraphEntry, ShapeRange
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.session import Session

pytestmark = pytest.mark.runtime


class _Named(PocketBackend):
    """A pocket backend under another name that remembers what it loaded, and may refuse a graph."""

    def __init__(self, name: str, refuses: str = "") -> None:
        super().__init__()
        self._name = name
        self._refuses = refuses
        self.loaded: list[str] = []
        self.closed: list[str] = []

    @property
    def name(self) -> str:
        return self._name

    def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
        if graph.name == self._refuses:
            raise EngineError(f"{self._name} refuses {graph.name}")
        self.loaded.append(graph.name)
        loaded = super().load(bundle, graph)
        loaded.close = lambda: self.closed.append(graph.name)  # type: ignore[method-assign]
        return loaded


def _absent(name: str) -> Callable[[int | None], Any]:
    def opener(_: int | None) -> Any:
        raise BackendNotAvailableError(f"no {name} here")

    return opener


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, _Named]]:
    """A machine that has the given backends and no others."""

    def build(*present: str, refuses: dict[str, str] | None = None) -> dict[str, _Named]:
        backends = {name: _Named(name, (refuses or {}).get(name, "")) for name in present}
        openers = {
            name: (lambda _, b=backends[name]: b) if name in present else _absent(name) for name in BACKEND_NAMES[1:]
        }
        monkeypatch.setattr(selection, "_OPENERS", openers)
        monkeypatch.setattr(selection, "_open_cpu", openers["cpu"])
        monkeypatch.setattr(selection, "_warned", set())
        return backends

    return build


def _bundle(folder: Path, *targets: str, mode: str = "float", graphs: tuple[str, ...] = ()) -> Bundle:
    bundle = Bundle.open(write_pocket_bundle(folder / "bundle"))
    named = graphs or ("analysis", "synthesis", "head")
    engines = tuple(
        EngineEntry(
            file=f"engines/{target}-{name}.engine",
            role=bundle.manifest.graph(name).role,
            graph=name,
            target=target,
            precision="fp32",
            sha256="ab" * 32,
            built_with="1",
            devices=(),
            profile={},
        )
        for target in targets
        for name in named
    )
    manifest = dataclasses.replace(bundle.manifest, engines=engines)
    # The mode enters the identity; here only the choice of the backend is looked at.
    object.__setattr__(manifest, "entropy", dataclasses.replace(manifest.entropy, mode=mode))
    return dataclasses.replace(bundle, manifest=manifest)


Machine = Callable[..., dict[str, _Named]]
ENTROPY = ["hyper", "step_00", "step_01", "step_02", "step_03"]


def test_the_cpu_is_the_last_resort(machine: Machine, tmp_path: Path) -> None:
    machine("cpu")

    choice = load_graphs(_bundle(tmp_path), "auto", None).choice

    assert (choice.backend.name, choice.entropy.name) == ("cpu", "cpu")
    assert "cpu is the first that works here" in choice.reason
    assert "the bundle has no engines for it" in choice.reason
    assert "no cuda here" in choice.reason


@pytest.mark.parametrize(
    ("present", "targets", "taken"),
    [
        (("cpu", "cuda"), (), "cuda"),
        (("cpu", "cuda", "tensorrt"), (), "cuda"),
        (("cpu", "cuda", "tensorrt"), ("tensorrt",), "tensorrt"),
        (("cpu", "cuda", "tensorrt-rtx"), ("tensorrt-rtx",), "tensorrt-rtx"),
        (("cpu", "cuda", "tensorrt", "tensorrt-rtx"), ("tensorrt-rtx", "tensorrt"), "tensorrt"),
        (("cpu", "tensorrt-rtx"), ("tensorrt", "tensorrt-rtx"), "tensorrt-rtx"),
        (("cpu",), ("tensorrt", "tensorrt-rtx"), "cpu"),
    ],
)
def test_auto_takes_the_fastest_that_works(
    machine: Machine, tmp_path: Path, present: tuple[str, ...], targets: tuple[str, ...], taken: str
) -> None:
    machine(*present)

    assert load_graphs(_bundle(tmp_path, *targets), "auto", None).choice.backend.name == taken


def test_an_engine_that_does_not_load_is_passed_over(machine: Machine, tmp_path: Path) -> None:
    backends = machine("cpu", "tensorrt", refuses={"tensorrt": "head"})

    loaded = load_graphs(_bundle(tmp_path, "tensorrt"), "auto", None)

    assert loaded.choice.backend.name == "cpu"
    assert "tensorrt refuses head" in loaded.choice.reason
    assert set(backends["tensorrt"].closed) == {"analysis", "synthesis"}, "what had been loaded was not freed"


def test_a_backend_asked_for_by_name_is_not_replaced(machine: Machine, tmp_path: Path) -> None:
    machine("cpu", refuses={})

    with pytest.raises(BackendNotAvailableError, match="no cuda here"):
        load_graphs(_bundle(tmp_path), "cuda", None)


def test_an_engine_asked_for_by_name_that_fails_says_so(machine: Machine, tmp_path: Path) -> None:
    machine("cpu", "tensorrt", refuses={"tensorrt": "synthesis"})

    with pytest.raises(EngineError, match="refuses synthesis"):
        load_graphs(_bundle(tmp_path, "tensorrt"), "tensorrt", None)


@pytest.mark.parametrize("name", ["cuda", "tensorrt", "tensorrt-rtx"])
def test_a_float_entropy_path_stays_on_the_cpu(machine: Machine, tmp_path: Path, name: str) -> None:
    backends = machine("cpu", name)

    choice = load_graphs(_bundle(tmp_path, name if name != "cuda" else "tensorrt"), name, None).choice

    assert (choice.backend.name, choice.entropy.name) == (name, "cpu")
    assert backends["cpu"].loaded == ENTROPY
    assert backends[name].loaded == ["analysis", "synthesis", "head"]


def test_a_float_entropy_path_without_a_cpu_backend_says_so(machine: Machine, tmp_path: Path) -> None:
    machine("tensorrt")

    with pytest.raises(BackendNotAvailableError, match="needs ONNX Runtime on the CPU"):
        load_graphs(_bundle(tmp_path, "tensorrt"), "tensorrt", None)


def test_an_integer_entropy_path_runs_where_the_rest_runs(machine: Machine, tmp_path: Path) -> None:
    backends = machine("cpu", "cuda")

    choice = load_graphs(_bundle(tmp_path, mode="integer"), "cuda", None).choice

    assert choice.entropy.name == "cuda"
    assert backends["cpu"].loaded == []


@pytest.mark.parametrize("complete", [False, True])
def test_integer_engines_are_used_when_there_is_one_for_every_step(
    machine: Machine, tmp_path: Path, complete: bool
) -> None:
    machine("cpu", "tensorrt")
    graphs = ("analysis", "synthesis", "head", *(ENTROPY if complete else ENTROPY[:-1]))

    choice = load_graphs(_bundle(tmp_path, "tensorrt", mode="integer", graphs=graphs), "tensorrt", None).choice

    assert choice.entropy.name == ("tensorrt" if complete else "cpu")


def test_the_choice_is_logged_once(machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine("cpu")
    with caplog.at_level(logging.INFO, logger="ptp_runtime"):
        load_graphs(_bundle(tmp_path), "auto", None)

    messages = [record.getMessage() for record in caplog.records if record.name.startswith("ptp_runtime.backends")]
    assert len(messages) == 1
    assert "cpu is the first that works here" in messages[0]


def test_a_backend_given_as_an_object_runs_everything(tmp_path: Path) -> None:
    backend = _Named("mine")

    loaded = load_graphs(_bundle(tmp_path), backend, None)

    assert loaded.choice.backend is backend
    assert loaded.choice.entropy is backend
    assert set(loaded.by_name) == set(backend.loaded)
    loaded.close()
    assert set(backend.closed) == set(backend.loaded)


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "onnx"])
def test_an_unknown_name_lists_the_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="auto, tensorrt, tensorrt-rtx, ort-tensorrt, ort-tensorrt-rtx, cuda, cpu"):
        load_graphs(_bundle(tmp_path), name, None)


@pytest.mark.parametrize("threads", [0, -1])
def test_a_backend_needs_a_thread(tmp_path: Path, threads: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        load_graphs(_bundle(tmp_path), "cpu", threads)


@pytest.mark.parametrize(
    ("name", "module"), [("tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx"), ("cpu", "onnxruntime")]
)
def test_a_missing_library_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    """A None in sys.modules makes the import fail as if the package were not installed."""
    monkeypatch.setitem(__import__("sys").modules, module, None)
    for loaded in [m for m in __import__("sys").modules if m.startswith("ptp_runtime.backends.") and "_backend" in m]:
        monkeypatch.delitem(__import__("sys").modules, loaded)

    with pytest.raises(BackendNotAvailableError, match="cannot be loaded") as caught:
        load_graphs(_bundle(tmp_path, "tensorrt", "tensorrt-rtx"), name, None)

    assert "pip install" in caught.value.hint


def test_useless_engines_are_mentioned_once(machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine("cpu", "tensorrt", refuses={"tensorrt": "head"})
    bundle = _bundle(tmp_path, "tensorrt")

    for _ in range(3):
        load_graphs(bundle, "auto", None)

    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "cannot be used here (tensorrt: tensorrt refuses head)" in warnings[0]
    assert f"with the same streams; see ptp doctor {bundle.path}" in warnings[0]


def test_a_bundle_without_engines_says_nothing(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine("cpu")

    load_graphs(_bundle(tmp_path), "auto", None)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def _with_profile(bundle: Bundle, largest: int) -> Bundle:
    """The same engines, made for small photos only."""
    shapes = {
        "analysis": {"image": ShapeRange((1, 3, 64, 64), (1, 3, 64, 64), (1, 3, largest, largest))},
        "head": {"h": ShapeRange((1, 1, 1, 1), (1, 1, 1, 1), (1, 4096, largest // 4, largest // 4))},
    }
    engines = tuple(
        dataclasses.replace(engine, profile=shapes.get(engine.graph, {})) for engine in bundle.manifest.engines
    )
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, engines=engines))


@pytest.mark.parametrize("entropy_on", ["cuda", "cpu"])
def test_a_photo_beyond_the_profile_runs_in_onnxruntime(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture, entropy_on: str
) -> None:
    present = ["cpu", "tensorrt", *(["cuda"] if entropy_on == "cuda" else [])]
    backends = machine(*present)
    plain = _bundle(tmp_path, "tensorrt")
    bundle = _with_profile(plain, 128)
    photo = np.random.default_rng(5).integers(0, 256, (150, 100, 3), np.uint8)

    with Session.open(bundle, "tensorrt", trust="any") as session, Session.open(plain, PocketBackend()) as other:
        stand_in = backends[entropy_on].loaded
        before = list(stand_in)
        assert session.encode(photo[:128]) == other.encode(photo[:128]), "inside the profile"
        assert stand_in == before
        assert session.encode(photo) == other.encode(photo)
        assert session.encode(photo) == other.encode(photo)
        assert stand_in == [*before, "analysis"], "loaded when it is needed, and once"

    warnings = [record.getMessage() for record in caplog.records if "not built for this size" in record.getMessage()]
    assert len(warnings) == 1
    assert "image 1×3×192×128 is outside 1×3×64×64 to 1×3×128×128" in warnings[0]
    assert sorted(backends[entropy_on].closed) == sorted(backends[entropy_on].loaded)
