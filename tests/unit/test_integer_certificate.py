"""The certificate: recovered shifts, sharp bounds, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration.cpu_session import CpuSession
from ptp_calibration.integer_path import GraphError, IntegerBoundError, IntegerPath, convert, prove
from ptp_calibration.integer_path.pocket_network import pocket_network, pocket_samples

LIMIT = 2**24


@pytest.fixture(scope="module")
def path() -> IntegerPath:
    network = pocket_network("checkerboard", seed=4)
    return convert(network, pocket_samples(network, seed=5))


def _graph(
    *nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("out",), **constants: NDArray[np.generic]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, None, None]) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _layer(weight: list[list[float]], bias: list[float], low: int = 0, high: int = 1023) -> onnx.ModelProto:
    """Clip, then one 1×1 layer of two inputs."""
    return _graph(
        helper.make_node("Clip", ["x", "low_in", "high_in"], ["c"], "enter"),
        helper.make_node("Conv", ["c", "w", "b"], ["s"], "layer"),
        helper.make_node("Floor", ["s"], ["f"], "layer/floor"),
        helper.make_node("Clip", ["f", "low", "high"], ["out"], "layer/clip"),
        w=np.float32(weight)[:, :, None, None],
        b=np.float32(bias),
        low_in=np.float32(-1023),
        high_in=np.float32(1023),
        low=np.float32(low),
        high=np.float32(high),
    )


def _prove(model: onnx.ModelProto, known: tuple[int, int] | None = None) -> dict[str, int]:
    return {proof.layer: proof.bound for proof in prove({"g": model}, {"x": known})}


def test_the_shift_and_the_bound_of_every_channel_are_recovered() -> None:
    (proof,) = prove({"g": _layer([[3 / 8, -5 / 8], [1 / 4, 0]], [0.5, -100.5])}, {"x": None})

    assert (proof.graph, proof.layer) == ("g", "layer")
    assert proof.shifts == (3, 2)
    assert (proof.channel, proof.bound) == (0, 8 * 1023 + 4)
    assert proof.limit == LIMIT
    assert proof.share == proof.bound / LIMIT


def test_weights_below_the_limit_pass_and_at_the_limit_do_not() -> None:
    # Σ|w|·1023 + |b| is just below, then exactly at 2^24.
    weight, rest = divmod(LIMIT, 1023)
    assert _prove(_layer([[weight, 0]], [rest - 1]))["layer"] == LIMIT - 1
    with pytest.raises(IntegerBoundError, match=r"layer layer \(graph g\), channel 1, can reach 16777216") as caught:
        prove({"g": _layer([[1, 1], [weight, 0]], [0.5, rest])}, {"x": None})
    error = caught.value
    assert (error.graph, error.layer, error.channel, error.bound, error.limit) == ("g", "layer", 1, LIMIT, LIMIT)


def test_the_bound_is_reached_by_an_adversarial_input() -> None:
    weight = np.float32([[9.5, -6.25], [3, -13]])
    model = _layer(weight.tolist(), [0.5, 0.5], -(2**20), 2**20)
    (proof,) = prove({"g": model}, {"x": None})
    x = (np.sign(weight[proof.channel]) * 1023).astype(np.float32)[None, :, None, None]
    reached = CpuSession(model, 1).run({"x": x})["out"][0, proof.channel, 0, 0]

    assert int(reached) << proof.shifts[proof.channel] >= 0.99 * proof.bound


def test_known_input_bounds_take_the_place_of_a_clip() -> None:
    model = _graph(
        helper.make_node("Conv", ["x", "w"], ["s"], "layer"),
        helper.make_node("Floor", ["s"], ["out"], "layer/floor"),
        w=np.full((1, 2, 1, 1), 4, np.float32),
    )
    assert _prove(model, (-7, 3)) == {"layer": 4 * 2 * 7}
    with pytest.raises(GraphError, match="they must meet a Clip first"):
        _prove(model)


def test_bounds_of_a_clip_and_of_the_weights_both_count() -> None:
    # The first layer cannot pass 20, though its clip allows 1023: the second is bounded by 20.
    nodes = [
        helper.make_node("Clip", ["x", "low", "ten"], ["c"], "enter"),
        helper.make_node("Conv", ["c", "w"], ["s"], "first"),
        helper.make_node("Floor", ["s"], ["f"], "first/floor"),
        helper.make_node("Clip", ["f", "low", "high"], ["a"], "first/clip"),
        helper.make_node("Conv", ["a", "v"], ["t"], "second"),
        helper.make_node("Floor", ["t"], ["out"], "second/floor"),
    ]
    constants = {"low": np.float32(0), "ten": np.float32(10), "high": np.float32(1023)}
    weights = {"w": np.ones((1, 2, 1, 1), np.float32), "v": np.full((1, 1, 1, 1), 3, np.float32)}

    assert _prove(_graph(*nodes, **constants, **weights)) == {"first": 20, "second": 60}


def test_the_sum_of_two_convolutions_is_bounded_as_one() -> None:
    def model(weight: float) -> onnx.ModelProto:
        return _graph(
            helper.make_node("Clip", ["x", "low", "high"], ["c"], "enter"),
            helper.make_node("Conv", ["c", "w"], ["s"], "layer/term_0"),
            helper.make_node("Conv", ["c", "v"], ["t"], "layer/term_1"),
            helper.make_node("Add", ["s", "t"], ["u"], "layer/sum"),
            helper.make_node("Floor", ["u"], ["out"], "layer/floor"),
            low=np.float32(-1000),
            high=np.float32(1000),
            w=np.full((1, 2, 1, 1), weight, np.float32),
            v=np.full((1, 2, 1, 1), -1 / 4, np.float32),
        )

    # In quarters: 4·weight·2000 and 2000 that do not cancel, whatever their signs.
    assert _prove(model(2000)) == {"layer": 4 * 2000 * 2000 + 2000}
    with pytest.raises(IntegerBoundError, match="layer layer"):
        _prove(model(2100))


@pytest.mark.parametrize(
    ("weight", "tf32", "fp16"),
    [
        ([[511 / 2**10, 2047 / 4]], True, True),
        ([[2049, 1]], False, False),
        ([[2**16, 0]], True, False),
        ([[2.0**-26, 0]], True, False),
    ],
)
def test_operands_of_tensor_cores(weight: list[list[float]], tf32: bool, fp16: bool) -> None:
    model = _layer(weight, [0.5])
    constants = {constant.name: constant for constant in model.graph.initializer}
    for name, value in (("low_in", -1), ("high_in", 1)):
        constants[name].CopyFrom(numpy_helper.from_array(np.float32(value), name))
    if weight[0][0] == 2.0**-26:
        constants["b"].CopyFrom(numpy_helper.from_array(np.float32([0]), "b"))
    (proof,) = prove({"g": model}, {"x": None})

    assert (proof.tf32_operands, proof.fp16_operands) == (tf32, fp16)


def test_activations_beyond_eleven_bits_are_no_operands_of_tensor_cores() -> None:
    model = _layer([[1, 1]], [0.5])
    assert prove({"g": model}, {"x": (-1023, 1023)})[0].tf32_operands
    constants = {constant.name: constant for constant in model.graph.initializer}
    constants["high_in"].CopyFrom(numpy_helper.from_array(np.float32(2049), "high_in"))
    (proof,) = prove({"g": model}, {"x": None})
    assert (proof.tf32_operands, proof.fp16_operands) == (False, False)


def test_every_layer_of_a_converted_path_is_proved(path: IntegerPath) -> None:
    proved = [(proof.graph, proof.layer) for proof in path.proofs]
    floors = {
        (name, node.name.removesuffix("/floor"))
        for name, model in path.graphs.items()
        for node in model.graph.node
        if node.op_type == "Floor"
    }

    assert floors <= set(proved)
    assert {("hyper", f"part_{k:02d}") for k in range(4)} <= set(proved)
    assert len(proved) == len(set(proved))
    assert all(0 < proof.share < 1 and min(proof.shifts) >= 1 for proof in path.proofs)
    assert all(proof.tf32_operands and proof.fp16_operands for proof in path.proofs)


def test_a_part_keeps_its_bound_in_the_step_that_reads_it(path: IntegerPath) -> None:
    bounds = {(proof.graph, proof.layer): proof for proof in path.proofs}
    part, whole = bounds["hyper", "part_01"], bounds["step_01", "step_01/aggregate/0"]

    assert whole.bound > part.bound


def _edit_weight(model: onnx.ModelProto, name: str, change: Callable[[NDArray[np.float32]], None]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (constant,) = (c for c in copy.graph.initializer if c.name == name)
    value = numpy_helper.to_array(constant).copy()
    change(value)
    constant.CopyFrom(numpy_helper.from_array(value, name))
    return copy


def test_weights_scaled_beyond_the_bound_are_refused(path: IntegerPath) -> None:
    def scaled(weight: NDArray[np.float32]) -> None:
        weight *= 2.0**10

    model = _edit_weight(path.graphs["step_01"], "step_01/aggregate/1/weight", scaled)
    with pytest.raises(IntegerBoundError, match="step_01/aggregate/1"):
        prove({**path.graphs, "step_01": model})


def test_a_part_made_larger_in_hyper_is_refused_in_its_step(path: IntegerPath) -> None:
    part = next(proof for proof in path.proofs if proof.layer == "part_03")

    def raised(bias: NDArray[np.float32]) -> None:
        bias[part.channel] = (LIMIT - 1 - part.bound // 2) * 2.0 ** -part.shifts[part.channel]

    model = _edit_weight(path.graphs["hyper"], "part_03/bias", raised)
    with pytest.raises(IntegerBoundError) as caught:
        prove({**path.graphs, "hyper": model})
    assert caught.value.layer in ("part_03", "step_03/aggregate/0")


def test_a_weight_off_the_grid_is_refused(path: IntegerPath) -> None:
    def moved(weight: NDArray[np.float32]) -> None:
        weight.flat[0] = np.float32(0.1)

    model = _edit_weight(path.graphs["step_00"], "step_00/aggregate/1/weight", moved)
    with pytest.raises(IntegerBoundError, match="step_00/aggregate/1"):
        prove({**path.graphs, "step_00": model})


def test_steps_without_hyper_are_refused(path: IntegerPath) -> None:
    with pytest.raises(GraphError, match="step_00 reads part_00; expected an output of a graph before it"):
        prove({name: model for name, model in path.graphs.items() if name != "hyper"})


def test_numbers_in_real_units_are_not_computed_with(path: IntegerPath) -> None:
    step = onnx.ModelProto()
    step.CopyFrom(path.graphs["step_00"])
    for node in step.graph.node:
        node.input[:] = ["mu_hyper" if name == "part_00" else name for name in node.input]
    step.graph.input[0].name = "mu_hyper"
    with pytest.raises(GraphError, match="real units"):
        prove({**path.graphs, "step_00": step})
