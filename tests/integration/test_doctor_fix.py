"""``ptp doctor --fix``: real engines for a real bundle, and what happens when something goes wrong on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from ptp_export.engines import rebuild
from ptp_export.engines.targets import TENSORRT_RTX
from ptp_runtime.backends import selection
from ptp_runtime.bundle import Bundle
from ptp_runtime.cli.group import ptp
from ptp_runtime.engines.bundle_engines import engine_states
from ptp_runtime.engines.repair import open_for_repair
from ptp_runtime.errors import (
    AlteredFileError,
    BundleError,
    DamagedEngineError,
    EngineVersionError,
    MissingExtraError,
    PtpError,
    StageFailedError,
    UsageError,
)
from ptp_runtime.manifest import TASK_IDS, ClassificationParameters, FileEntry, TaskInfo, json_from_manifest
from ptp_runtime.session import Session

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed: make test installs it"
)

PHOTO = np.random.default_rng(4).integers(0, 256, (100, 150, 3), np.uint8)
GRAPHS = ["analysis", "hyper", "step_00", "step_01", "step_02", "step_03", "synthesis", "head"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engines that an earlier test has built: the others are about something else."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def with_engines(tmp_path_factory: pytest.TempPathFactory, repository: Path, cache: Path) -> Path:
    """A bundle of golden streams, with engines."""
    bundle = tmp_path_factory.mktemp("golden") / "bundle"
    shutil.copytree(repository / "tests/golden/streams/checkerboard/bundle", bundle)
    _doctor(cache, "--fix", bundle)
    return bundle


@pytest.fixture
def bundle(with_engines: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(with_engines, tmp_path / "bundle")
    return tmp_path / "bundle"


def _doctor(cache: Path, *arguments: Any) -> dict[str, Any]:
    """The report of a doctor who ended without an error, however ill the patient."""
    result = _run(cache, *arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def _run(cache: Path, *arguments: Any) -> Result:
    words = ["doctor", *(str(argument) for argument in arguments), "--engine-cache", str(cache), "--json"]
    return CliRunner().invoke(ptp, words, standalone_mode=True)


def _content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.parent.rglob("*") if path.is_file() and ".log" not in str(path))
    return {str(path.relative_to(folder.parent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _engine_finding(report: dict[str, Any]) -> dict[str, str]:
    (found,) = [one for one in report["findings"] if one["subject"].startswith("engines for")]
    return found


def test_engines_are_added_and_nothing_else_changes(with_engines: Path, repository: Path) -> None:
    before = Bundle.open(repository / "tests/golden/streams/checkerboard/bundle")
    after = Bundle.open(with_engines)

    assert [engine.graph for engine in after.manifest.engines] == GRAPHS
    assert {engine.built_with for engine in after.manifest.engines} == {TENSORRT_RTX.version()}
    assert {engine.proof for engine in after.manifest.engines} <= {"network", "engine"}
    changed = {"engines", "audit", "tools"}
    for field in dataclasses.fields(before.manifest):
        same = getattr(before.manifest, field.name) == getattr(after.manifest, field.name)
        assert same or field.name in changed
    with Session.open(before, backend="cpu") as one, Session.open(after, backend="cpu") as other:
        assert one.encode(PHOTO) == other.encode(PHOTO)


def test_there_is_nothing_to_do_twice(bundle: Path, cache: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    before = _content(bundle)
    report = _doctor(cache, "--fix", bundle)

    assert report["fixed"]["built"] == []
    assert len(report["fixed"]["kept"]) == len(GRAPHS)
    assert _content(bundle) == before


def test_everything_is_built_again_when_asked(bundle: Path, cache: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    report = _doctor(cache, "--fix", bundle, "--rebuild")

    assert len(report["fixed"]["built"]) == len(GRAPHS)
    assert (bundle / "notes.txt").read_text() == "mine", "whatever else lies there is somebody's"
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def _flip(plan: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    plan.write_bytes(data)


def _cut(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-100])


@pytest.mark.parametrize("spoil", [_flip, _cut, Path.unlink])
def test_a_damaged_engine_is_named_and_replaced(bundle: Path, cache: Path, spoil: Callable[[Path], None]) -> None:
    spoil(bundle / "engines/step_02.tensorrt-rtx.plan")
    with pytest.raises(BundleError):
        Session.open(bundle)

    ill = _doctor(cache, bundle)
    assert not ill["ok"]
    found = _engine_finding(ill)
    assert found["status"] == "fail"
    assert "engines/step_02.tensorrt-rtx.plan" in found["detail"]
    assert found["hint"] == f"ptp doctor --fix {bundle}"

    mended = _doctor(cache, "--fix", bundle)
    assert mended["fixed"]["built"] == ["engines/step_02.tensorrt-rtx.plan"]
    assert mended["ok"]
    assert Bundle.open(bundle).manifest.engines


def _patched(bundle: Path, at: int, value: int) -> str:
    """One byte of a plan changed, and the manifest made to agree: as another builder would have left it."""
    opened = Bundle.open(bundle)
    engine = opened.manifest.engines[-1]
    plan = bytearray((bundle / engine.file).read_bytes())
    plan[at] = value
    (bundle / engine.file).write_bytes(plan)
    changed = dataclasses.replace(engine, sha256=hashlib.sha256(plan).hexdigest())
    engines = (*opened.manifest.engines[:-1], changed)
    (bundle / "manifest.json").write_bytes(json_from_manifest(dataclasses.replace(opened.manifest, engines=engines)))
    return engine.file


@pytest.mark.parametrize(
    ("at", "value", "kind", "words"),
    [
        (0x19, 6, EngineVersionError, "built with another version of TensorRT for RTX, expected 1.6.1.116"),
        (0x00, 0, DamagedEngineError, "is no plan of TensorRT for RTX"),
        (0x10, 1, DamagedEngineError, "is damaged, expected"),
    ],
)
def test_an_engine_that_cannot_load_is_explained_and_replaced(
    bundle: Path, cache: Path, at: int, value: int, kind: type[PtpError], words: str
) -> None:
    file = _patched(bundle, at, value)

    problems = [state.problem for state in engine_states(open_for_repair(bundle), "tensorrt-rtx") if state.own_fault]
    assert [type(problem) for problem in problems] == [kind]
    assert words in _engine_finding(_doctor(cache, bundle))["detail"]
    assert _doctor(cache, "--fix", bundle)["fixed"]["built"] == [file]


@pytest.mark.parametrize("error", [StageFailedError("no kernel"), KeyboardInterrupt(), OSError("disk full")])
def test_a_failure_on_the_way_leaves_the_old_bundle(
    bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    real, count = rebuild.engine_from_onnx, [0]

    def fail_at_the_third(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == 3:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(rebuild, "engine_from_onnx", fail_at_the_third)
    before = _content(bundle)
    result = _run(cache, "--fix", bundle, "--rebuild")

    assert result.exit_code != 0
    assert _content(bundle) == before


def test_a_disk_that_fills_up_leaves_the_old_bundle(bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(rebuild.shutil, "copytree", full)
    before = _content(bundle)

    assert _run(cache, "--fix", bundle, "--rebuild").exit_code != 0
    assert _content(bundle) == before


def test_a_bundle_that_is_damaged_elsewhere_is_not_touched(bundle: Path, cache: Path) -> None:
    (bundle / "graphs/head.onnx").write_bytes(b"not the graph")
    before = _content(bundle)
    result = _run(cache, "--fix", bundle)

    assert isinstance(result.exception, AlteredFileError)
    assert _content(bundle) == before


def test_no_builder_is_a_typed_error(bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_is_installed", lambda target: False)

    assert isinstance(_run(cache, "--fix", bundle).exception, MissingExtraError)
    assert isinstance(_run(cache, "--fix", bundle, "--target", "tensorrt").exception, MissingExtraError)


@pytest.mark.parametrize("words", [("--fix",), ("--rebuild",), ("--target", "tensorrt-rtx"), ("--device", "8.9")])
def test_requests_that_make_no_sense(cache: Path, words: tuple[str, ...]) -> None:
    assert isinstance(_run(cache, *words).exception, UsageError)


def test_a_session_says_once_that_the_engines_wait_for_a_gpu(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selection, "_warned", set())
    for _ in range(2):
        with Session.open(bundle, trust="any") as session:
            taken = session.backend.backend.name
    if taken == "tensorrt-rtx":
        pytest.skip("the engines run here")

    said = [record.getMessage() for record in caplog.records if "cannot be used here" in record.getMessage()]
    assert len(said) == 1
    assert f"ptp doctor {bundle}" in said[0]


def test_the_head_of_a_further_task_gets_its_engine(with_engines: Path, tmp_path: Path, cache: Path) -> None:
    """As ``ptp-export prompt`` leaves a bundle: the shared graphs have engines, the new task's head has none."""
    folder = tmp_path / "bundle"
    shutil.copytree(with_engines, folder)
    main = Bundle.open(folder).manifest
    head = main.graph("head")
    model = onnx.load(folder / head.file)
    model.graph.node.add(op_type="Identity", name="renamed", input=["image"], output=["logits"])
    model.graph.output[0].name = "logits"
    data = model.SerializeToString()
    (folder / "graphs/head.cls.onnx").write_bytes(data)
    outputs = tuple(dataclasses.replace(tensor, name="logits") for tensor in head.outputs)
    digest = hashlib.sha256(data).hexdigest()
    own = dataclasses.replace(head, file="graphs/head.cls.onnx", sha256=digest, outputs=outputs)
    task = TaskInfo("cls", TASK_IDS["cls"], ("one", "two"), ClassificationParameters(top=1))
    shared = tuple(engine for engine in main.engines if engine.graph != "head")
    graphs = tuple(own if graph.name == "head" else graph for graph in main.graphs)
    document = json_from_manifest(dataclasses.replace(main, task=task, graphs=graphs, engines=shared))
    (folder / "tasks").mkdir()
    (folder / "tasks/cls.json").write_bytes(document)
    others = {"cls": FileEntry("tasks/cls.json", hashlib.sha256(document).hexdigest())}
    (folder / "manifest.json").write_bytes(json_from_manifest(dataclasses.replace(main, others=others)))

    report = _doctor(cache, "--fix", folder)
    again = _doctor(cache, "--fix", folder)

    assert report["fixed"]["built"] == ["engines/head.cls.tensorrt-rtx.plan"]
    assert again["fixed"]["built"] == []
    assert len(again["fixed"]["kept"]) == len(GRAPHS) + 1
    fixed = Bundle.open(folder, "cls").manifest
    assert {engine.graph for engine in fixed.engines} == set(GRAPHS)
    assert fixed.audit["engines"]["engines/head.cls.tensorrt-rtx.plan"]["bytes"] > 0
    assert [engine.file for engine in Bundle.open(folder).manifest.engines] == [engine.file for engine in main.engines]
