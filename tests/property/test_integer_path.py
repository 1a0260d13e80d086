"""What is proved holds: every optimisation level and thread count of ONNX Runtime gives the oracle's integers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration.integer_path import (
    EntropyNetwork,
    IntegerBoundError,
    IntegerOracle,
    IntegerPath,
    IntegerPrecision,
    convert,
    prove,
)
from ptp_calibration.integer_path.pocket_network import pocket_network, pocket_samples

LEVELS = tuple(
    getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{name}")
    for name in ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")
)
Sessions = dict[str, onnxruntime.InferenceSession]


def _sessions(graphs: Mapping[str, onnx.ModelProto], level: object, threads: int) -> Sessions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return {
        name: onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for name, model in graphs.items()
    }


def _one_layer(weight: NDArray[np.float32], bias: float, limit: int) -> onnx.ModelProto:
    """Clip → Conv, whose sums are an output → Floor."""
    outputs, inputs, side, _ = weight.shape
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["c"], "clip"),
        helper.make_node("Conv", ["c", "w", "b"], ["sum"], "layer", kernel_shape=[side] * 2, pads=[side // 2] * 4),
        helper.make_node("Floor", ["sum"], ["out"], "layer/floor"),
    ]
    constants = {"low": -limit, "high": limit, "w": weight, "b": np.full(outputs, bias)}
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, outputs, "h", "w"])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, outputs, "h", "w"]))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@cache
def _network(context: str, seed: int) -> EntropyNetwork:
    rng = np.random.default_rng(seed)
    groups = tuple(int(size) for size in rng.integers(1, 5, rng.integers(1, 4)))
    return pocket_network(context, seed, groups=groups, width=int(rng.integers(3, 20)))


@cache
def _converted(context: str, seed: int, weight_bits: int, activation_bits: int) -> IntegerPath:
    network = _network(context, seed)
    return convert(network, pocket_samples(network, seed), IntegerPrecision(weight_bits, activation_bits))


@cache
def _all_sessions(*key: object) -> tuple[tuple[str, Sessions], ...]:
    path = _converted(*key)  # type: ignore[arg-type]
    return tuple(
        (f"{level.name}, {threads} threads", _sessions(path.graphs, level, threads))
        for level in LEVELS
        for threads in (1, 2)
    )


@cache
def _oracle(*key: object) -> IntegerOracle:
    return IntegerOracle(_converted(*key).graphs)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=12)
@given(
    context=st.sampled_from(["checkerboard", "zigzag"]),
    seed=st.sampled_from([0, 3]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    spread=st.sampled_from([1, 20, 3000]),
    draw=st.integers(0, 2**32 - 1),
)
def test_every_backend_gives_the_oracle_s_integers(
    context: str, seed: int, height: int, width: int, spread: int, draw: int
) -> None:
    key = (context, seed, *((10, 10) if seed else (8, 8)))
    oracle = _oracle(*key)
    network = _network(context, seed)
    rng = np.random.default_rng(draw)
    z = rng.integers(-spread, spread + 1, (1, network.hyper_channels, height, width))
    # The contexts are any numbers, as a damaged stream's would be.
    y = np.rint(rng.laplace(0, spread, (1, network.latent_channels, 4 * height, 4 * width))).astype(np.int64)
    whole = {"z_hat": z, "y_int": y}
    floats: dict[str, NDArray[np.generic]] = {"z_hat": z.astype(np.float32), "y_int": y.astype(np.float32)}
    for name in oracle.graphs:
        outputs = oracle.run(name, whole)
        expected = oracle.floats(name, outputs)
        for configuration, sessions in _all_sessions(*key):
            read = {value.name: floats[value.name] for value in sessions[name].get_inputs()}
            found = dict(zip(expected, sessions[name].run(list(expected), read), strict=True))
            for output, wanted in expected.items():
                where = f"{output} of {name}, {configuration}"
                assert found[output].dtype == wanted.dtype, where
                assert np.array_equal(found[output], wanted), where
        whole.update(outputs)
        floats.update(expected)


@settings(deadline=None, max_examples=8)
@given(context=st.sampled_from(["checkerboard", "zigzag"]), seed=st.integers(0, 1000))
def test_weights_on_the_grid_are_converted_without_any_error(context: str, seed: int) -> None:
    network = pocket_network(context, seed, whole=True)
    # Twelve bits of weights hold a small and a large input of one layer exactly.
    report = convert(network, pocket_samples(network, seed, spread=1), IntegerPrecision(12, 10)).report

    assert report.integer_bits == report.float_bits
    assert not any(report.clipped.values())


@settings(deadline=None, max_examples=30)
@given(
    outputs=st.integers(1, 4),
    inputs=st.integers(1, 6),
    side=st.sampled_from([1, 3, 5]),
    shift=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_bound_is_sharp(outputs: int, inputs: int, side: int, shift: int, seed: int) -> None:
    """The worst input reaches the proved bound; weights that pass it are refused."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-100, 101, (outputs, inputs, side, side)).astype(np.float32)
    weight[..., 0, 0] += weight[..., 0, 0] % 2 == 0
    model = _one_layer(np.ldexp(weight, -shift).astype(np.float32), 0.5, 1023)
    proof = next(proof for proof in prove({"one": model}, {"x": None}) if proof.layer == "layer")
    x = np.sign(weight[proof.channel])[None] * 1023
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    reached = session.run(["sum"], {"x": x.astype(np.float32)})[0][0, proof.channel, side // 2, side // 2]
    exact = int(np.abs(weight[proof.channel]).sum()) * 1023 + 2 ** (shift - 1)

    assert proof.bound == exact
    assert int(np.ldexp(reached, shift)) == exact
    factor = -(-(2**24) // proof.bound) | 1  # odd: the grid stays as it is
    with pytest.raises(IntegerBoundError, match=f"channel {proof.channel}"):
        prove({"one": _one_layer(np.ldexp(weight * factor, -shift).astype(np.float32), 0.5, 1023)}, {"x": None})
