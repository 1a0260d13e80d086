"""Backends that are not exact, and what ``ptp interop`` says of them: which graph, which layer, which step."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ptp_calibration.integer_path import prove
from ptp_export.interop.configurations.configuration import Configuration, EntropyFiles
from ptp_export.interop.configurations.onnxruntime_paths import OnnxRuntimeSettings, open_onnxruntime
from ptp_export.interop.configurations.openvino_paths import OpenVinoSettings, open_openvino
from ptp_export.interop.configurations.torch_paths import TorchSettings, open_torch
from ptp_export.interop.interop import compare_bundles
from ptp_export.interop.layer_names import layer_names
from ptp_export.interop.matrix import Cell
from ptp_export.interop.report import Findings, cell_words
from ptp_export.interop.torch_graphs import Operator
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError

STREAMS = Path(__file__).parents[1] / "golden" / "streams"
CONTEXTS = {name: STREAMS / name / "bundle" for name in ("checkerboard", "zigzag")}
HONEST = Configuration("honest", lambda files: open_onnxruntime(files, OnnxRuntimeSettings()))


def _load(name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise RuntimeError(f"no module {name}")
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


faults = _load("arithmetic_faults")


class Quiet:
    """No progress."""

    def opening(self, name: str) -> None:
        """Nothing."""

    def compared(self, symbols: int, wanted: int) -> None:
        """Nothing."""


def beside_honest(bundle: Path, other: Configuration, pieces: int = 2) -> Findings:
    """The honest backend and another one, on whole photos."""
    sizes = (None,) * pieces
    (found,) = compare_bundles([bundle], [HONEST, other], None, 1, Quiet(), builds=False, sizes=sizes)
    return found


def cells(found: Findings) -> Mapping[tuple[str, str], Cell]:
    return {(cell.encoder, cell.decoder): cell for cell in found.matrix.cells}


def with_operator(name: str, function: Operator) -> Configuration:
    """Torch with another convolution."""
    return Configuration(name, lambda files: open_torch(files, TorchSettings(), {"Conv": function}))


def with_models(name: str, change: Callable[[onnx.ModelProto], None], graph: str) -> Configuration:
    """ONNX Runtime with one changed file."""

    def changed(files: EntropyFiles) -> EntropyFiles:
        if graph not in files.models:
            return files
        model = onnx.ModelProto()
        model.CopyFrom(files.models[graph])
        change(model)
        return replace(files, models={**files.models, graph: model})

    return Configuration(name, lambda files: open_onnxruntime(changed(files), OnnxRuntimeSettings(threads=1)))


def one_weight(layer: str, channel: int) -> Callable[[onnx.ModelProto], None]:
    """One weight of a layer larger by the smallest amount that its channel can hold, 2^-n."""

    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "Conv" and node.name == layer)
        tensor = next(one for one in model.graph.initializer if one.name == node.input[1])
        weight = numpy_helper.to_array(tensor).copy()
        unit = next(2.0**-n for n in range(30) if not np.any(np.mod(weight[channel] * 2.0**n, 1)))
        middle = weight.shape[-1] // 2
        # An input that is 0 throughout would hide the change: take the one with the largest weight.
        source = int(np.abs(weight[channel, :, middle, middle]).argmax())
        weight[channel, source, middle, middle] += unit
        tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))

    return change


@pytest.mark.parametrize("context", sorted(CONTEXTS))
@pytest.mark.parametrize("place", ["first layer", "last layer", "hyper"])
def test_one_weight_one_unit_off_is_found_and_named(context: str, place: str) -> None:
    files = EntropyFiles.of(Bundle.open(CONTEXTS[context]))
    graph = "hyper" if place == "hyper" else "step_02"
    layer = layer_names(files.models[graph])[-1 if place == "last layer" else 0]

    found = beside_honest(CONTEXTS[context], with_models("sabotaged", one_weight(layer, 1), graph))

    both = cells(found)
    for direction in (("honest", "sabotaged"), ("sabotaged", "honest")):
        cell = both[direction]
        assert cell.status == "differs", "the changed weight went unnoticed"
        assert cell.first is not None
        assert cell.first.layer is not None
        assert (cell.first.layer.graph, cell.first.layer.layer) == (graph, layer)
        assert layer in cell_words(cell)
        if graph != "hyper":
            # Nothing in front of the changed graph differs, so that is where the decoder falls out of step.
            assert cell.first.place.step == 2
            assert cell.first.place.graph == "step_02"
        assert cell.noticed == cell.broken > 0, "an ordinary decoder must refuse the stream"
    assert both["honest", "honest"].status == both["sabotaged", "sabotaged"].status == "equal"
    assert found.problems()


@pytest.mark.parametrize("context", sorted(CONTEXTS))
def test_operands_in_tf32_do_no_harm(context: str) -> None:
    """All integers of the path have at most 11 significant bits, which is what TF32 keeps: proved, then measured."""
    files = EntropyFiles.of(Bundle.open(CONTEXTS[context]))
    assert all(proof.tf32_operands for proof in prove(files.models))

    found = beside_honest(CONTEXTS[context], with_operator("TF32 operands", faults.tf32_operands))

    assert found.matrix.differences == 0
    assert found.matrix.symbols


@pytest.mark.parametrize("context", sorted(CONTEXTS))
@pytest.mark.parametrize("fault", ["tf32_results", "fp16_accumulation", "winograd_large"])
def test_another_arithmetic_is_found_and_named(context: str, fault: str) -> None:
    found = beside_honest(CONTEXTS[context], with_operator(fault, getattr(faults, fault)))

    cell = cells(found)["honest", fault]
    assert cell.status == "differs"
    assert cell.broken == cell.streams
    assert cell.noticed == cell.broken
    assert cell.first is not None
    assert cell.first.layer is not None
    hyper = set(layer_names(EntropyFiles.of(found.matrix.bundle).models["hyper"]))
    assert cell.first.layer.layer in hyper, "such a backend is wrong from the beginning"


def test_compressed_weights_of_openvino_are_found() -> None:
    """What OpenVINO's converter does unless it is told otherwise: weights and biases stored as FP16."""
    files = EntropyFiles.of(Bundle.open(CONTEXTS["checkerboard"]))
    with pytest.raises(BackendNotAvailableError, match="another precision") as caught:
        open_openvino(files, OpenVinoSettings(compressed=True))
    assert caught.value.got == "f16"
    smuggled = Configuration(
        "smuggled", lambda files: open_openvino(files, OpenVinoSettings(compressed=True, any_precision=True))
    )

    found = beside_honest(CONTEXTS["checkerboard"], smuggled)

    cell = cells(found)["honest", "smuggled"]
    assert cell.status == "differs"
    assert cell.noticed == cell.broken > 0


def test_a_difference_is_counted_where_it_arises() -> None:
    """One mean off by a sixteenth in one channel of one step: so many differences, and no noise behind them."""

    def change(model: onnx.ModelProto) -> None:
        layer = layer_names(model)[-1]
        node = next(node for node in model.graph.node if node.op_type == "Conv" and node.name == layer)
        tensor = next(one for one in model.graph.initializer if one.name == node.input[2])
        bias = numpy_helper.to_array(tensor).copy()
        bias[0] += 1
        tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))

    found = beside_honest(CONTEXTS["checkerboard"], with_models("one mean", change, "step_01"))

    cell = cells(found)["honest", "one mean"]
    positions = sum(item.y.shape[2] * item.y.shape[3] for item in found.matrix.items)
    # The checkerboard's second half of one channel.
    assert cell.differences == cell.means == positions / 2
    assert cell.indices == 0
    assert cell.first is not None
    assert (cell.first.place.step, cell.first.place.output, cell.first.place.channel) == (1, "mean", 0)
    assert cell.first.place.got == cell.first.place.expected + 1
