"""The oracle computes integers by hand-checkable rules, and says what it cannot read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration.integer_path import GraphError, IntegerOracle
from ptp_calibration.integer_path.proof.oracle import _product


def _model(nodes: list[onnx.NodeProto], outputs: list[str], **constants: NDArray[np.generic]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("z_hat", TensorProto.FLOAT, [1, 2, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, None, None]) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _layer(weight: list[list[float]], bias: list[float]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Clip", ["z_hat", "low", "high"], ["c"], "enter"),
        helper.make_node("Conv", ["c", "w", "b"], ["s"], "layer"),
        helper.make_node("Floor", ["s"], ["f"], "layer/floor"),
        helper.make_node("Clip", ["f", "low", "high"], ["layer"], "layer/clip"),
    ]
    weights = {"w": np.float32(weight)[:, :, None, None], "b": np.float32(bias)}
    return _model(nodes, ["layer", "s"], **weights, low=np.float32(-100), high=np.float32(100))


def test_a_layer_is_a_sum_a_shift_that_floors_and_a_clip() -> None:
    oracle = IntegerOracle({"g": _layer([[3 / 4, -1 / 4], [2, 0]], [1 / 2, 0.25])})
    z = np.array([[[[1, -3, 1000]], [[2, 1, 0]]]])
    found = oracle.run("g", {"z_hat": z})

    # Sums in quarters: 3·1 - 2 + 2 = 3, -9 - 1 + 2 = -8, 300 + 2 (clipped at 100); then 8 + 1, -24 + 1, 801.
    assert found["s"].tolist() == [[[[3, -8, 302]], [[9, -23, 801]]]]
    assert found["layer"].tolist() == [[[[0, -2, 75]], [[2, -6, 100]]]]
    assert found["layer"].dtype == np.int64
    assert oracle.layers("g", {"z_hat": z})["layer"].tolist() == found["layer"].tolist()
    floats = oracle.floats("g", found)
    assert floats["s"].dtype == np.float32
    assert floats["s"][0, 0, 0].tolist() == [0.75, -2.0, 75.5]


def test_zeros_surround_an_image_and_taps_are_not_mirrored() -> None:
    weight = np.zeros((1, 2, 3, 3), np.float32)
    weight[0, 0] = [[1, 2, 4], [8, 16, 32], [64, 128, 256]]
    nodes = [helper.make_node("Conv", ["z_hat", "w"], ["s"], "layer", pads=[1] * 4)]
    oracle = IntegerOracle({"g": _model(nodes, ["s"], w=weight)})
    z = np.zeros((1, 2, 2, 2), np.int64)
    z[0, 0, 0, 1] = 1

    assert oracle.run("g", {"z_hat": z})["s"].tolist() == [[[[32, 16], [4, 2]]]]


def test_a_pixel_shuffle_orders_channels_as_torch_does() -> None:
    nodes = [
        helper.make_node("Concat", ["z_hat", "z_hat"], ["four"], axis=1),
        helper.make_node("DepthToSpace", ["four"], ["out"], blocksize=2, mode="CRD"),
    ]
    z = np.array([[[[1]], [[2]]]])

    assert IntegerOracle({"g": _model(nodes, ["out"])}).run("g", {"z_hat": z})["out"].tolist() == [[[[1, 2], [1, 2]]]]


def test_sums_on_different_grids_are_aligned() -> None:
    nodes = [
        helper.make_node("Conv", ["z_hat", "w"], ["s"], "a"),
        helper.make_node("Conv", ["z_hat", "v"], ["t"], "b"),
        helper.make_node("Add", ["s", "t"], ["u"], "sum"),
        helper.make_node("Floor", ["u"], ["whole"], "floor"),
    ]
    weights = {"w": np.full((1, 2, 1, 1), 1 / 8, np.float32), "v": np.full((1, 2, 1, 1), 3 / 2, np.float32)}
    oracle = IntegerOracle({"g": _model(nodes, ["u", "whole"], **weights)})
    found = oracle.run("g", {"z_hat": np.array([[[[-1]], [[2]]]])})

    assert (found["u"].item(), found["whole"].item()) == (13, 1)
    assert oracle.floats("g", found)["u"].item() == 13 / 8


def test_large_numbers_are_multiplied_in_integers() -> None:
    rows, columns = np.array([[2**31 + 1, 3]]), np.array([[2**31 + 1], [5]])

    assert _product(rows, columns).tolist() == [[(2**31 + 1) ** 2 + 15]]
    small = np.random.default_rng(0).integers(-500, 501, (2, 7, 7))
    assert np.array_equal(_product(*small), small[0] @ small[1])


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("other", {"z_hat": np.zeros((1, 2, 2, 2), np.int64)}, "no graph other; expected one of g"),
        ("g", {}, "reads z_hat as integers .* got nothing"),
        ("g", {"z_hat": np.zeros((1, 2, 2, 2), np.float32)}, "got float32"),
        ("g", {"z_hat": np.zeros((1, 3, 2, 2), np.int64)}, r"got int64 \(1, 3, 2, 2\)"),
        ("g", {"z_hat": np.zeros((2, 2, 2), np.int64)}, "got int64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(name: str, inputs: dict[str, NDArray[np.int64]], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        IntegerOracle({"g": _layer([[1, 1]], [0.5])}).run(name, inputs)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Mul", ["z_hat", "third"], ["s"], "m")], "no powers of two"),
        ([helper.make_node("Conv", ["z_hat", "tiny"], ["s"], "m")], "channel 0, has weights that are no integers"),
        (
            [
                helper.make_node("Conv", ["z_hat", "half"], ["a"], "m"),
                helper.make_node("Clip", ["a", "low", "high"], ["s"], "n"),
            ],
            "n in the graph g reads numbers that are not whole",
        ),
        (
            [
                helper.make_node("Conv", ["z_hat", "half"], ["a"], "m"),
                helper.make_node("Conv", ["a", "one"], ["s"], "n"),
            ],
            "reads numbers that are not whole",
        ),
    ],
)
def test_graphs_without_an_integer_meaning_are_refused(nodes: list[onnx.NodeProto], message: str) -> None:
    constants = {
        "third": np.full((1, 2, 1, 1), 1 / 3, np.float32),
        "tiny": np.full((1, 2, 1, 1), 2.0**-70, np.float32),
        "half": np.full((1, 2, 1, 1), 0.5, np.float32),
        "one": np.ones((1, 1, 1, 1), np.float32),
        "low": np.float32(0),
        "high": np.float32(9),
    }
    with pytest.raises(GraphError, match=message):
        IntegerOracle({"g": _model(nodes, ["s"], **constants)})


def test_a_graph_that_reads_what_none_gives_is_refused() -> None:
    model = _layer([[1, 1]], [0.5])
    model.graph.input[0].name = "part_00"
    model.graph.node[0].input[0] = "part_00"
    with pytest.raises(GraphError, match="reads part_00, which no graph before it gives"):
        IntegerOracle({"g": model})
