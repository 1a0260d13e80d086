"""Ranges of activations, measured inside the graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration import CalibrationError, measure_ranges


def _model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"], name="scale"),
        helper.make_node("Exp", ["a"], ["y"], name="exp"),
        helper.make_node("Shape", ["a"], ["s"], name="shape"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "n"]), helper.make_tensor_value_info("s", 7, [2])],
        [numpy_helper.from_array(np.float32([3.0]), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_every_float_tensor_gets_its_extremes_over_all_samples() -> None:
    samples = [{"x": np.float32([[-2.0, 1.0]])}, {"x": np.float32([[0.5, 0.0, 3.0]])}]
    ranges = measure_ranges(_model(), samples, threads=1)
    assert set(ranges) == {"x", "a", "y"}, "neither weights nor integers"
    assert (ranges["a"].minimum, ranges["a"].maximum, ranges["a"].magnitude) == (-6.0, 9.0, 9.0)
    assert ranges["a"].shape == (1, 3), "of the larger sample"
    assert ranges.samples == 2


def test_the_model_is_left_alone() -> None:
    model = _model()
    before = model.SerializeToString()
    measure_ranges(model, [{"x": np.float32([[1.0]])}], threads=1)
    assert model.SerializeToString() == before


def test_no_sample_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="no sample"):
        measure_ranges(_model(), [], threads=1)


@pytest.mark.parametrize(
    "sample", [{"z": np.float32([[1.0]])}, {"x": np.float64([[1.0]])}, {"x": np.float32([1.0])}, {}]
)
def test_a_sample_the_graph_does_not_take_is_an_error(sample: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    with pytest.raises(CalibrationError, match="sample 1 does not fit"):
        measure_ranges(_model(), [sample], threads=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 100.0])
def test_a_tensor_that_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(CalibrationError, match="not finite"):
        measure_ranges(_model(), [{"x": np.float32([[0.0, value]])}], threads=1)
