"""One set of codec graphs for several tasks: the streams, the batches, a further task, and the two sides apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from ptp_export.cli import export_command
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.shared import add_prompt as adding
from ptp_export.shared.add_prompt import add_prompt
from ptp_export.shared.prompt_cli import prompt_command
from ptp_export.stages import SilentWatcher
from ptp_export.stored_model import stored_model
from ptp_export.verify.limits import Limits
from ptp_export.verify.verify_bundle import verify_bundle
from ptp_runtime import Bundle, Session, SharedSession, load_image
from ptp_runtime.backends.prompted_graph import PromptedGraph
from ptp_runtime.errors import (
    AlteredFileError,
    BundleError,
    CheckpointError,
    StageFailedError,
    TaskNotAvailableError,
    UsageError,
    WrongModelError,
)
from ptp_runtime.splitting import split_bundle

TASKS = ("view", "cls")


class _Silent:
    def photo(self, number: int, count: int, name: str) -> None:
        """Ignored."""


@pytest.fixture(scope="module")
def shared(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("shared") / "bundle"
    arguments = ["--task", "view", "--task", "cls", "--shared", "--checkpoint", str(tiny_checkpoint), "-o", str(bundle)]
    result = CliRunner().invoke(export_command, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "prompt of" in result.output
    return bundle


@pytest.fixture(scope="module")
def session(shared: Path) -> Any:
    with SharedSession.open(shared, "cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def photos(shipped_photos: dict[str, Path]) -> list[np.ndarray]:  # type: ignore[type-arg]
    return [load_image(shipped_photos[name])[:190, :250] for name in ("cat.jpg", "coffee.jpg", "rocket.jpg")]


def test_tasks_share_files_and_loaded_graphs(shared: Path, session: SharedSession) -> None:
    bundle = Bundle.open(shared)
    assert bundle.tasks == session.tasks == TASKS
    other = bundle.of_task("cls")
    files = [{graph.name: graph.file for graph in view.manifest.graphs} for view in (bundle, other)]
    assert {name for name in files[0] if files[0][name] != files[1][name]} == {"head"}
    prompts = {graph.name for graph in bundle.manifest.graphs if graph.prompt is not None}
    assert prompts == {"analysis", "hyper", "synthesis"}
    loaded = [session.session(task).graphs.by_name for task in TASKS]
    for name in files[0]:
        graphs = [of_task[name] for of_task in loaded]
        inner = [graph.shared if isinstance(graph, PromptedGraph) else graph for graph in graphs]
        assert (inner[0] is inner[1]) == (name != "head"), name
    assert bundle.manifest.entropy.identity != other.manifest.entropy.identity
    assert bundle.unlisted() == other.unlisted() == ()


@pytest.mark.parametrize("task", TASKS)
def test_every_task_computes_what_the_checkpoint_computes(shared: Path, tiny_checkpoint: Path, task: str) -> None:
    report = verify_bundle(shared, str(tiny_checkpoint), None, "cpu", Limits.load(), _Silent(), task)
    assert report.task == task
    assert report.passed, report.failures()
    assert report.integers is not None
    assert report.integers.differing == 0
    assert report.integers.compared > 10_000


def test_a_mixed_batch_equals_the_single_results(shared: Path, session: SharedSession, photos: list[Any]) -> None:
    tasks = ["cls", "view", "cls"]
    streams = session.encode_batch(photos, tasks=tasks, workers=2)
    outputs = session.decode_batch(streams, workers=2)
    for photo, task, stream, output in zip(photos, tasks, streams, outputs, strict=True):
        assert session.task_of(stream) == task
        with Session.open(shared, "cpu", task=task) as alone:
            assert alone.encode(photo) == stream
            expected = alone.decode(stream)
        assert type(expected) is type(output)
        for name in ("image", "probabilities"):
            if hasattr(expected, name):
                assert np.array_equal(getattr(expected, name), getattr(output, name))


def test_another_task_may_look_at_the_same_latents(session: SharedSession, photos: list[Any]) -> None:
    stream = session.encode(photos[0], task="view")
    own, other = session.decode_detailed(stream), session.decode_detailed(stream, task="cls")
    assert np.array_equal(own.latents.y_int, other.latents.y_int)
    assert type(own.output).__name__ == "View"
    assert type(other.output).__name__ == "Classification"
    crop = session.decode(session.encode(photos[0], task="cls"), task="view")
    assert crop.image.shape == (224, 224, 3)  # type: ignore[union-attr]


def test_what_cannot_be_is_refused(shared: Path, session: SharedSession, photos: list[Any], tmp_path: Path) -> None:
    stream = session.encode(photos[0], task="cls")
    with pytest.raises(TaskNotAvailableError, match="'det'"):
        session.encode(photos[0], task="det")
    with pytest.raises(TaskNotAvailableError, match="'det'"):
        Session.open(shared, "cpu", task="det")
    with pytest.raises(UsageError, match="task for each"):
        session.encode_batch(photos, tasks=["cls"])
    with Session.open(shared, "cpu") as alone, pytest.raises(WrongModelError):
        alone.decode(stream)
    with SharedSession.open(shared, "cpu", tasks=["view"]) as alone, pytest.raises(WrongModelError, match="cls"):
        alone.decode(stream)
    damaged = tmp_path / "damaged"
    shutil.copytree(shared, damaged)
    prompt = damaged / "prompts" / "hyper.cls.bin"
    prompt.write_bytes(prompt.read_bytes()[:-1] + b"\0")
    with Session.open(damaged, "cpu"):
        pass
    with pytest.raises(AlteredFileError, match=r"hyper\.cls\.bin"):
        SharedSession.open(damaged, "cpu")


def test_the_two_files_of_a_graph_are_one_onnx_file(shared: Path) -> None:
    bundle = Bundle.open(shared, "cls")
    graph = bundle.manifest.graph("analysis")
    model = onnx.load_model_from_string(bundle.read(graph))
    onnx.checker.check_model(model, full_check=True)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name for value in model.graph.input}
    assert inputs - weights == {tensor.name for tensor in graph.inputs}
    assert any(name.startswith("prompts.p_ga") for name in inputs & weights)


def test_a_further_task_leaves_the_others_alone(
    shared: Path, tiny_checkpoint: Path, tmp_path: Path, photos: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the disk is full at the end, which must leave the bundle as it was; then it is not."""
    bundle = tmp_path / "bundle"
    shutil.copytree(shared, bundle)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    with SharedSession.open(bundle, "cpu") as opened:
        streams = {task: opened.encode(photos[1], task=task) for task in TASKS}

    arguments = ["--task", "cls", "--bundle", str(bundle), "--checkpoint", str(tiny_checkpoint), "--replace", "--json"]
    real = adding.write_files

    def full(folder: Path, files: dict[str, bytes]) -> None:
        real(folder, dict(list(files.items())[:3]))
        monkeypatch.setattr(adding, "write_files", real)
        raise OSError("no space left")

    monkeypatch.setattr(adding, "write_files", full)
    with monkeypatch.context() as once:
        once.setattr(adding, "onnx_from_graph", lambda graph: stored_head(bundle))
        with pytest.raises(OSError, match="no space"):
            add_prompt(bundle, str(tiny_checkpoint), "cls", SilentWatcher(), replace_task=True)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
    result = CliRunner().invoke(prompt_command, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    added = json.loads(result.stdout)
    assert set(added["files"]) == {
        "golden.cls.bin", "graphs/head.cls.onnx", "prompts/analysis.cls.bin", "prompts/hyper.cls.bin",
        "prompts/synthesis.cls.bin", "tasks/cls.json",
    }  # fmt: skip
    assert abs(added["cost"]) < 0.05
    changed = {path.relative_to(bundle).as_posix() for path, data in before.items() if path.read_bytes() != data}
    assert changed <= set(added["files"]) | {"manifest.json"}
    with SharedSession.open(bundle, "cpu") as opened:
        assert opened.encode(photos[1], task="view") == streams["view"]
        assert opened.decode(opened.encode(photos[1], task="cls")) is not None


def stored_head(bundle: Path) -> OnnxGraph:
    """The head that the bundle has already: tracing it takes longest."""
    view = Bundle.open(bundle, "cls")
    return onnx_graph("head", "head", stored_model(view, view.manifest.graph("head")))


def test_a_task_of_another_codec_is_refused(shared: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    import torch

    from ptp_model import checkpoint

    loaded = checkpoint.load(tiny_checkpoint)
    with torch.no_grad():
        next(loaded.codec.h_mu.parameters()).add_(0.01)
    checkpoint.save(tmp_path / "other", loaded.codec, loaded.tasks, {})
    for arguments, error, words in (
        ((shared, str(tmp_path / "other"), "cls"), CheckpointError, "another codec"),
        ((shared, str(tiny_checkpoint), "view"), UsageError, "already"),
    ):
        with pytest.raises(error, match=words):
            add_prompt(*arguments, SilentWatcher(), replace_task=True)
    with pytest.raises(UsageError, match="--replace"):
        add_prompt(shared, str(tiny_checkpoint), "cls", SilentWatcher())


def test_prompts_out_of_proportion_are_refused(shared: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    import torch

    from ptp_model import checkpoint

    loaded = checkpoint.load(tiny_checkpoint)
    with torch.no_grad():
        for parameter in loaded.tasks["cls"].prompts.p_hmu[-1].parameters():
            parameter.fill_(1e6)
    checkpoint.save(tmp_path / "large", loaded.codec, loaded.tasks, {})
    with pytest.raises(StageFailedError, match="coarser units"):
        add_prompt(shared, str(tmp_path / "large"), "cls", SilentWatcher(), replace_task=True)


def test_each_side_does_its_half_with_the_same_streams(shared: Path, tmp_path: Path, photos: list[Any]) -> None:
    for side in ("encoder", "decoder"):
        split_bundle(shared, side, tmp_path / side)
    whole = {path.name for path in (shared / "graphs").iterdir()}
    kept = {side: {path.name for path in (tmp_path / side / "graphs").iterdir()} for side in ("encoder", "decoder")}
    assert whole - kept["encoder"] == {"synthesis.onnx", "head.view.onnx", "head.cls.onnx"}
    assert whole - kept["decoder"] == {"analysis.onnx"}
    with (
        SharedSession.open(shared, "cpu") as both,
        SharedSession.open(tmp_path / "encoder", "cpu") as camera,
        SharedSession.open(tmp_path / "decoder", "cpu") as server,
    ):
        for task in TASKS:
            stream = camera.encode(photos[2], task=task)
            assert stream == both.encode(photos[2], task=task)
            ours, theirs = server.decode_detailed(stream), both.decode_detailed(stream)
            assert np.array_equal(ours.tensors["h"], theirs.tensors["h"])
        with pytest.raises(UsageError, match="encoder's side of one: it has no synthesis"):
            camera.decode(stream)
        with pytest.raises(UsageError, match="decoder's side of one: it has no analysis"):
            server.encode(photos[2])
    with pytest.raises(UsageError, match="already"):
        split_bundle(tmp_path / "encoder", "decoder", tmp_path / "again")
    with pytest.raises(UsageError, match="there is no such side"):
        split_bundle(shared, "left", tmp_path / "again")
    with pytest.raises(BundleError):
        split_bundle(tmp_path / "absent", "encoder", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "seg", "--task", "det"), "--shared"),
        (("--task", "seg", "--shared"), "several tasks"),
        (("--task", "seg", "--task", "det", "--shared", "--only", "head"), "--only"),
        (("--task", "seg", "--task", "det", "--shared", "--int8", "--best"), "--best"),
        (("--task", "seg", "--task", "det", "--shared", "--entropy-path", "float"), "float"),
        (("--task", "seg", "--task", "det", "--shared", "--size", "64x64"), "--size"),
    ],
)
def test_requests_that_make_no_sense_are_refused(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(export_command, [*arguments, "-o", str(tmp_path / "bundle")])
    assert isinstance(result.exception, UsageError) or result.exit_code == 2
    assert words in (str(result.exception) + result.output)
