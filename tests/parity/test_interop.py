"""``ptp interop``: equal cells are green, everything else is not, and nothing is counted twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from ptp_export.engines.targets import TENSORRT_RTX
from ptp_export.interop.cli import interop_command
from ptp_export.interop.configurations.apart import INSTRUCTION_SETS, configuration_apart
from ptp_export.interop.configurations.available import all_configurations, chosen
from ptp_export.interop.configurations.configuration import (
    Configuration,
    EntropyFiles,
    WithCompanion,
    with_free_batch,
)
from ptp_export.interop.configurations.engine_paths import build_engines
from ptp_export.interop.configurations.onnxruntime_paths import OnnxRuntimeSettings, onnxruntime_configuration
from ptp_export.interop.configurations.torch_paths import TorchSettings, torch_configuration
from ptp_export.interop.interop import compare_bundles
from ptp_export.interop.latents import pieces
from ptp_export.interop.layer_names import layer_names
from ptp_export.interop.report import Findings, document
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.sizes import Size
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError, UsageError
from ptp_runtime.golden.run import read_golden

STREAMS = Path(__file__).parents[1] / "golden" / "streams"
CHECKERBOARD, ZIGZAG = (STREAMS / name / "bundle" for name in ("checkerboard", "zigzag"))
SMALL = (Size(64, 64), Size(65, 100))


class Quiet:
    """No progress."""

    def opening(self, name: str) -> None:
        """Nothing."""

    def compared(self, symbols: int, wanted: int) -> None:
        """Nothing."""


def compare(bundle: Path, configurations: Sequence[Configuration], sizes: Sequence[Size | None] = SMALL) -> Findings:
    (found,) = compare_bundles([bundle], configurations, None, 1, Quiet(), builds=False, sizes=sizes)
    return found


def _interop(*arguments: str) -> Result:
    return CliRunner().invoke(interop_command, list(arguments))


@pytest.fixture(scope="module")
def cat_folder(cat_photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    shutil.copy(cat_photo, folder)
    return folder


def test_both_contexts_are_equal_in_every_cell(cat_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "interop.json"
    only = ["level none", "level all", "torch eager, 2", "channels last", "openvino, 1", "oracle", "batch of 2"]

    result = _interop(
        *(str(CHECKERBOARD), "--with", str(ZIGZAG), "--photos", str(cat_folder), "--symbols", "1", "--json", str(file)),
        *(argument for text in only for argument in ("--only", text)),
    )

    assert result.exit_code == 0, result.output
    found = json.loads(file.read_text())
    assert found["differences"] == 0
    assert [bundle["context"] for bundle in found["bundles"]] == ["checkerboard", "zigzag"]
    assert [bundle["bundle"] for bundle in found["bundles"]] == ["checkerboard/bundle", "zigzag/bundle"]
    assert {cell["bundle"] for cell in found["cells"]} == {"checkerboard/bundle", "zigzag/bundle"}
    assert {bundle["mode"] for bundle in found["bundles"]} == {"integer"}
    assert {cell["status"] for cell in found["cells"]} == {"equal"}
    for bundle in found["bundles"]:
        names = [one["name"] for one in bundle["configurations"]]
        assert len(names) == 11
        assert bundle["cells"] == bundle["equal_cells"] == 11**2
        # Every stream of an item is the same: each configuration decodes it once, which is what is counted.
        assert bundle["distinct_streams"] == len(bundle["items"])
        assert bundle["symbols"] == sum(one["decoded"] for one in bundle["configurations"])
        sizes = {(item["height"], item["width"]) for item in bundle["items"]}
        assert len(sizes) == 5
        assert len({item["rate"] for item in bundle["items"]}) > 1
        providers = {one["name"]: one["provider"] for one in bundle["configurations"]}
        assert "CPUExecutionProvider" in providers["onnxruntime, level all, 2 threads"]
        assert "brgconv" in providers["openvino, 1 thread"] or "jit" in providers["openvino, 1 thread"]
    assert "0 differ" in result.stdout


def test_a_slow_configuration_is_asked_for_small_items_only_and_its_symbols_are_its_own() -> None:
    oracle, runtime = (chosen(all_configurations(), [name])[0] for name in ("numpy oracle", "level all, 1"))
    assert oracle.largest_item is not None
    slow = dataclasses.replace(oracle, largest_item=1000)

    found = compare(CHECKERBOARD, [slow, runtime], (Size(64, 64), Size(300, 300)))

    small = sum(item.symbols for item in found.matrix.items if item.symbols <= 1000)
    by_name = {one.name: one for one in found.matrix.taking}
    assert 0 < by_name[slow.name].decoded == small < by_name[runtime.name].decoded
    cells = {(one.encoder, one.decoder): one for one in found.matrix.cells}
    assert cells[runtime.name, slow.name].symbols == small
    assert cells[runtime.name, runtime.name].symbols == by_name[runtime.name].decoded


def test_identical_configurations_count_once() -> None:
    twins = [onnxruntime_configuration(name, OnnxRuntimeSettings(threads=1)) for name in ("one", "two")]

    found = compare(CHECKERBOARD, twins)

    assert [one.name for one in found.matrix.taking] == ["one"]
    assert [(one.name, one.same_as) for one in found.matrix.absent] == [("two", "one")]
    assert len(found.matrix.cells) == 1


def test_what_is_missing_is_said_and_is_not_green() -> None:
    missing = torch_configuration("torch CUDA", TorchSettings(device="cuda"))
    present = torch_configuration("torch", TorchSettings())
    try:
        missing.open(EntropyFiles.of(Bundle.open(CHECKERBOARD)))
    except BackendNotAvailableError:
        found = compare(CHECKERBOARD, [missing, present])
    else:
        pytest.skip("this machine has a CUDA device")

    assert [one.name for one in found.matrix.absent] == ["torch CUDA"]
    assert {cell.encoder for cell in found.matrix.cells} == {"torch"}


def test_one_bundle_twice_is_refused() -> None:
    result = _interop(str(CHECKERBOARD), "--with", str(CHECKERBOARD))

    assert result.exit_code == 2
    assert "twice" in result.output


def test_nothing_to_compare_is_a_failure() -> None:
    result = _interop(str(CHECKERBOARD), "--only", "tensorrt engines")  # the bundle has none

    assert result.exit_code == 9
    assert "no configuration" in result.output


def test_a_mistyped_configuration_is_refused_with_the_names_there_are() -> None:
    result = _interop(str(CHECKERBOARD), "--only", "openvino", "--only", "onnxruntme")

    assert result.exit_code == 2
    assert "onnxruntme" in result.output
    assert "numpy oracle" in result.output


def test_a_provider_that_was_not_taken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that lists CUDA and then runs on the CPU: the cell must not stand for CUDA."""
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    configuration = onnxruntime_configuration("cuda", OnnxRuntimeSettings(device="cuda"))

    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), pytest.raises(BackendNotAvailableError) as caught:
        configuration.open(EntropyFiles.of(Bundle.open(CHECKERBOARD)))

    assert caught.value.got == "CPUExecutionProvider"


class _Recorder:
    """A graph that keeps what it was given."""

    provider = "none"

    def __init__(self) -> None:
        self.given: list[NDArray[Any]] = []

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.given.append(inputs["x"])
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        """Nothing."""


def test_a_batch_holds_two_different_photos() -> None:
    recorder = _Recorder()
    graph = WithCompanion(recorder)
    first, second = (np.full((1, 1, 2, 2), value, np.float32) + np.arange(4).reshape(2, 2) for value in (10, 50))

    results = [graph.run({"x": x})["y"] for x in (first, first, second, second, first)]

    for x, y in zip((first, first, second, second, first), results, strict=True):
        np.testing.assert_array_equal(y, x * 2)
    assert [tuple(batch[:, 0, 0, 0]) for batch in recorder.given] == [(10, 13), (13, 10), (50, 10), (10, 50), (10, 50)]


def test_another_size_gets_no_companion_of_the_first() -> None:
    graph = WithCompanion(_Recorder())
    graph.run({"x": np.ones((1, 1, 2, 2), np.float32)})

    wide = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(graph.run({"x": wide})["y"], wide * 2)


def test_a_freed_batch_changes_shapes_alone() -> None:
    model = EntropyFiles.of(Bundle.open(CHECKERBOARD)).models["hyper"]
    freed = with_free_batch(model)

    assert freed.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert list(freed.graph.node) == list(model.graph.node)
    assert list(freed.graph.initializer) == list(model.graph.initializer)
    onnx.checker.check_model(freed)


def test_fewer_instructions_in_a_process_of_its_own() -> None:
    instructions = INSTRUCTION_SETS[-1]
    apart = configuration_apart("apart", "torch", TorchSettings(), instructions)
    here = torch_configuration("here", TorchSettings())

    found = compare(CHECKERBOARD, [here, apart])

    assert [cell.status for cell in found.matrix.cells] == ["equal"] * 4
    provider = found.matrix.taking[1].opened.provider
    assert "oneDNN jit:sse41" in provider
    assert "CPU DEFAULT" in provider


def test_the_other_process_reports_what_its_library_refuses() -> None:
    files = EntropyFiles.of(Bundle.open(CHECKERBOARD))
    hyper = onnx.ModelProto()
    hyper.CopyFrom(files.models["hyper"])
    hyper.graph.node[0].op_type = "Celu"
    apart = configuration_apart("apart", "torch", TorchSettings(), INSTRUCTION_SETS[-1])

    with pytest.raises(BackendNotAvailableError, match="Celu"):
        apart.open(dataclasses.replace(files, models={"hyper": hyper}))


def test_pieces_have_every_size_and_rate() -> None:
    bundle = Bundle.open(CHECKERBOARD)
    stream = pieces(shipped_set("parity"), bundle, (None, Size(64, 64), Size(30, 200)))
    first = [next(stream) for _ in range(60)]

    assert {piece.rate for piece in first} == {0, 1, 2}
    assert {piece.pixels.shape[:2] for piece in first} >= {(64, 64), (30, 200)}
    assert any(piece.pixels.shape[0] > 200 for piece in first)
    cut = [piece.pixels.tobytes() for piece in first if piece.pixels.shape[:2] == (64, 64)]
    assert len(set(cut)) == len(cut), "a photo must be cut at another place in each round"


def test_a_bundle_that_takes_no_photo_is_said() -> None:
    bundle = Bundle.open(CHECKERBOARD)
    pre = dataclasses.replace(bundle.manifest.preprocessing, height=(2048, 4096))
    manifest = dataclasses.replace(bundle.manifest, preprocessing=pre)
    bundle = Bundle(bundle.path, manifest, manifest)

    with pytest.raises(UsageError, match="none of the photos"):
        next(pieces(shipped_set("parity"), bundle, SMALL))


def test_engines_are_built_and_not_called_green() -> None:
    files = EntropyFiles.of(Bundle.open(CHECKERBOARD))
    first = {name: files.models[name] for name in ("step_00",)}
    check = build_engines(dataclasses.replace(files, models=first), TENSORRT_RTX)

    assert (check.graphs, check.problem) == (1, "")
    found = compare(CHECKERBOARD, chosen(all_configurations(), ["level all, 1"]))
    cells = document([dataclasses.replace(found, builds=(check,))])["cells"]
    assert [cell["status"] for cell in cells] == ["equal", "built, not run"]
    assert cells[-1]["symbols"] == 0


def test_a_refused_graph_is_a_problem() -> None:
    files = EntropyFiles.of(Bundle.open(CHECKERBOARD))
    model = onnx.ModelProto()
    model.CopyFrom(files.models["step_00"])
    next(node for node in model.graph.node if node.op_type == "Floor").op_type = "NonZero"

    check = build_engines(EntropyFiles({"step_00": model}), TENSORRT_RTX)

    assert check.failed
    found = compare(CHECKERBOARD, chosen(all_configurations(), ["level all, 1"]))
    assert any("refused" in problem for problem in dataclasses.replace(found, builds=(check,)).problems())


@pytest.mark.parametrize("bundle", [CHECKERBOARD, ZIGZAG])
def test_layers_are_those_of_the_oracle(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    test = read_golden(opened)
    assert test is not None
    for name, model in EntropyFiles.of(opened).models.items():
        outputs = {value.name for value in model.graph.output}
        schedule = [step.graph for step in opened.manifest.entropy.schedule]
        stored = test.layers if name == "hyper" else test.steps[schedule.index(name)].layers
        assert [layer for layer in layer_names(model) if layer not in outputs] == list(stored)
        assert stored or name == "step_00"
