"""Histograms of activations, the observers that choose thresholds from them, and the file that keeps both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ptp_calibration import (
    OBSERVERS,
    CalibrationError,
    GraphMeasurement,
    Histogram,
    Measurements,
    Ranges,
    TensorRange,
    observe,
    thresholds,
)
from ptp_calibration.histogram import BINS

GENERATOR = np.random.default_rng(3)


def _filled(*arrays: np.ndarray) -> Histogram:  # type: ignore[type-arg]
    histogram = Histogram.empty()
    for array in arrays:
        histogram.add(array.astype(np.float32))
    return histogram


@given(st.permutations([0.01, 0.5, 3.0, 700.0]))
def test_the_order_of_samples_changes_nothing(sizes: list[float]) -> None:
    samples = {size: np.linspace(-size, size, 101) for size in sizes}
    found, expected = _filled(*samples.values()), _filled(*(samples[size] for size in sorted(sizes)))
    assert found.limit == expected.limit == 1024
    assert found.largest == expected.largest == 700
    assert np.array_equal(found.counts, expected.counts)
    assert found.counts.sum() == 404


def test_zeros_and_nothing_are_counted_and_harmless() -> None:
    histogram = _filled(np.zeros(7), np.zeros(0))
    assert histogram.counts[0] == 7
    assert [observer(histogram) for observer in OBSERVERS.values()] == [0, 0, 0, 0]
    histogram.add(np.full(3, 2, np.float32))
    assert (histogram.counts.sum(), histogram.largest) == (10, 2)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(CalibrationError, match="finite"):
        _filled(np.array([1, np.inf]))


def test_one_outlier_moves_minmax_alone() -> None:
    values = GENERATOR.standard_normal(200_000)
    plain, spoilt = _filled(values), _filled(values, np.array([100.0]))
    before, after = ({name: OBSERVERS[name](h) for name in OBSERVERS} for h in (plain, spoilt))
    assert after["minmax"] == 100
    for name in ("percentile", "entropy"):
        assert after[name] <= 8, name
    assert 8 < after["mse"] < 60, "an error of 90, once, is worth some resolution"
    assert 3.5 < before["percentile"] < 4.3
    assert all(value <= before["minmax"] + 1e-6 for value in before.values())


def test_the_least_square_error_is_the_least() -> None:
    values = GENERATOR.laplace(size=100_000)
    histogram = _filled(values)
    chosen = OBSERVERS["mse"](histogram)

    def error(threshold: float) -> float:
        scale = threshold / 127
        return float(np.mean((values - np.clip(np.rint(values / scale), -127, 127) * scale) ** 2))

    others = [histogram.largest * k / 16 for k in range(2, 17)]
    assert error(chosen) <= min(map(error, others)) * 1.02


def _model() -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="relu"), helper.make_node("Neg", ["y"], ["z"], name="neg")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "z")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_inputs_and_inner_tensors_are_observed() -> None:
    samples = [{"x": np.array([-4, 1], np.float32)}, {"x": np.array([2, -9, 3], np.float32)}]
    found = observe(_model(), ["x", "y", "z"], samples)
    assert {name: histogram.largest for name, histogram in found.items()} == {"x": 9, "y": 3, "z": 3}
    assert found["y"].counts[0] == 2
    assert found["y"].counts.sum() == 5
    assert thresholds(found, "minmax") == {"x": 9, "y": 3, "z": 3}


def test_nothing_to_observe_and_unknown_observers_are_refused() -> None:
    with pytest.raises(CalibrationError, match="no sample"):
        observe(_model(), ["y"], [])
    with pytest.raises(CalibrationError, match="y, sample 2"):
        observe(_model(), ["y"], [{"x": np.ones(1, np.float32)}, {"x": np.array([np.nan], np.float32)}])
    with pytest.raises(CalibrationError, match="median"):
        thresholds({}, "median")


MEASURED = Measurements(
    "c" * 64,
    "seg",
    "four photos",
    "d" * 64,
    (("a.jpg", "1" * 64), ("b.jpg", "2" * 64)),
    {
        "head": GraphMeasurement(
            "e" * 64, Ranges({"x": TensorRange(-1.5, 2.0, (1, 3, 4, 4))}, 4), {"mse": {"x": 1.75}, "minmax": {"x": 2.0}}
        )
    },
)


def test_measurements_come_back_from_their_file(tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_bytes(MEASURED.to_json())
    found = Measurements.from_json((tmp_path / "ranges.json").read_bytes())
    assert found == MEASURED
    assert found.of("head", "e" * 64).ranges["x"].magnitude == 2
    found.require_fits("c" * 64, "seg")


def test_measurements_of_something_else_are_refused() -> None:
    for arguments, words in ((("f" * 64, "seg"), "checkpoint"), (("c" * 64, "det"), "task")):
        with pytest.raises(CalibrationError, match=words):
            MEASURED.require_fits(*arguments)
    for name, digest, words in (("head", "0" * 64, "another file"), ("tail", "e" * 64, "was not measured")):
        with pytest.raises(CalibrationError, match=words):
            MEASURED.of(name, digest)


def _damaged() -> list[bytes]:
    whole = json.loads(MEASURED.to_json())

    def changed(**entries: object) -> bytes:
        return json.dumps(whole | entries).encode()

    head = whole["graphs"]["head"]
    return [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        changed(schema=2),
        changed(photos=[{"name": "a"}]),
        changed(graphs={"head": {}}),
        changed(graphs={"head": head | {"ranges": {"x": [0, float("nan"), [1]]}}}),
        changed(graphs={"head": head | {"ranges": {"x": [0, True, [1]]}}}),
        changed(graphs={"head": head | {"thresholds": {"median": {"x": 1.0}}}}),
        changed(graphs={"head": head | {"thresholds": {"mse": {"x": -1.0}}}}),
    ]


@pytest.mark.parametrize("number", range(11))
def test_damaged_measurements_are_refused(number: int) -> None:
    with pytest.raises(CalibrationError):
        Measurements.from_json(_damaged()[number])


def test_the_bins_are_as_many_as_said() -> None:
    assert len(_filled(np.ones(3)).middles) == BINS
