"""FP16 as a rewrite: what it converts, what it leaves, what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration import Ranges, measure_ranges
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.onnx_passes.graph_pass import PassContractError
from ptp_export.precision import exclusions
from ptp_export.precision.exclusions import HALF_MAX, HEADROOM, find_exclusions
from ptp_export.precision.fp16 import EntropyPathError, Fp16FromFp32, fp16_from_fp32
from ptp_export.precision.typed_graph import TypedGraph
from ptp_export.tensor_spec import Role
from ptp_runtime.errors import ExportError, PrecisionNotMetError

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(5)
IMAGE = RNG.random((1, 4, 8, 10), dtype=np.float32)


def _weights(*shape: int) -> np.ndarray:  # type: ignore[type-arg]
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


def _graph(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    role: Role = "head",
    outputs: tuple[str, ...] = ("y",),  # type: ignore[type-arg]
) -> OnnxGraph:
    image = helper.make_tensor_value_info("x", FLOAT, [1, 4, "h", "w"])
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [image], results, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx_graph("g", role, onnx.shape_inference.infer_shapes(model))


def _gdn_graph() -> OnnxGraph:
    """Convolution, GDN, ReLU, softmax, convolution."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Mul", ["a", "a"], ["aa"], name="square"),
        helper.make_node("Conv", ["aa", "gamma", "beta"], ["n"], name="norm"),
        helper.make_node("Sqrt", ["n"], ["r"], name="root"),
        helper.make_node("Div", ["a", "r"], ["g"], name="quotient"),
        helper.make_node("Relu", ["g"], ["p"], name="relu"),
        helper.make_node("Softmax", ["p"], ["s"], name="softmax", axis=1),
        helper.make_node("Conv", ["s", "w2", "b2"], ["y"], name="last"),
    ]
    weights = {
        "w1": _weights(6, 4, 1, 1),
        "gamma": np.abs(_weights(6, 6, 1, 1)),
        "beta": np.ones(6, np.float32),
        "w2": _weights(3, 6, 1, 1),
        "b2": _weights(3),
    }
    return _graph(nodes, weights)


def _measured(graph: OnnxGraph, scale: float = 1.0) -> Ranges:
    return measure_ranges(graph.model, [{"x": IMAGE * np.float32(scale)}], threads=1)


def _run(graph: OnnxGraph) -> list[np.ndarray]:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(graph.data, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, {"x": IMAGE})  # type: ignore[type-arg]
    return results


def _computes(graph: OnnxGraph) -> dict[str, str]:
    typed = TypedGraph(graph.model)
    return {node.name: typed.computes_in(node) for node in graph.model.graph.node if typed.is_layer(node)}


def test_named_layers_stay_in_fp32_and_the_rest_is_fp16() -> None:
    graph = _gdn_graph()
    converted, audit = fp16_from_fp32(graph, _measured(graph), allow_partial=True)
    kept = {"square", "norm", "root", "quotient", "softmax"}
    assert {name for name, kind in _computes(converted).items() if kind == "fp32"} == kept
    assert {layer.node: layer.exclusion for layer in audit.layers if layer.exclusion} == {
        "square": "gdn",
        "norm": "gdn",
        "root": "gdn",
        "quotient": "gdn",
        "softmax": "softmax",
    }


def test_inputs_and_outputs_stay_float32_and_values_stay_close() -> None:
    graph = _gdn_graph()
    converted, _ = fp16_from_fp32(graph, _measured(graph), allow_partial=True)
    assert converted.inputs == graph.inputs
    assert converted.outputs == graph.outputs
    (before,), (after,) = _run(graph), _run(converted)
    assert after.dtype == np.float32
    error = np.abs(after - before).max() / np.abs(before).max()
    assert 0 < error < 2e-3, "close, and not the same: something was rounded"


def test_the_file_shrinks_to_about_half() -> None:
    weights = {"w": _weights(64, 4, 5, 5), "v": _weights(64, 64, 5, 5)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="one", pads=[2, 2, 2, 2]),
        helper.make_node("Conv", ["a", "v"], ["y"], name="two", pads=[2, 2, 2, 2]),
    ]
    graph = _graph(nodes, weights)
    converted, audit = fp16_from_fp32(graph, _measured(graph))
    assert len(converted.data) < 0.52 * len(graph.data)
    assert audit.share_of_convolutions == audit.share_of_arithmetic == 1.0


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_a_tensor_near_the_limit_keeps_its_layers_in_fp32(scale: float) -> None:
    graph = _gdn_graph()
    ranges = _measured(graph, scale)
    names = {exclusion.name: exclusion for exclusion in find_exclusions(TypedGraph(graph.model), ranges)}
    assert ("range" in names) == (scale > 1)
    if scale > 1:
        assert ranges["a"].magnitude > HALF_MAX / HEADROOM
        assert "first" in names["range"].nodes
        assert "last" not in names["range"].nodes, "its tensors are small"


def test_a_weight_beyond_float16_keeps_its_layer_in_fp32() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "large"], ["a"], name="scale"),
        helper.make_node("Mul", ["a", "small"], ["y"], name="back"),
    ]
    weights = {"large": np.float32([70000.0]), "small": np.float32([1e-5])}
    graph = _graph(nodes, weights)
    ranges = measure_ranges(graph.model, [{"x": IMAGE * np.float32(1e-3)}], threads=1)
    converted, audit = fp16_from_fp32(graph, ranges, allow_partial=True)
    assert {layer.node: (layer.got, layer.exclusion) for layer in audit.layers}["scale"] == ("fp32", "weights")
    assert np.isfinite(_run(converted)[0]).all()


def test_a_weight_read_in_both_precisions_exists_twice() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"], name="half"),
        helper.make_node("Softmax", ["a"], ["s"], name="softmax", axis=1),
        helper.make_node("Pow", ["s", "w"], ["y"], name="power"),
    ]
    graph = _graph(nodes, {"w": np.float32([2.0])})
    converted, _ = fp16_from_fp32(graph, _measured(graph), allow_partial=True)
    types = sorted(tensor.data_type for tensor in converted.model.graph.initializer)
    assert types == [TensorProto.FLOAT, TensorProto.FLOAT16]
    np.testing.assert_allclose(_run(converted)[0], _run(graph)[0], rtol=5e-3)


def test_sizes_are_read_without_a_cast() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node("Shape", ["a"], ["shape"], name="shape"),
        helper.make_node("Relu", ["a"], ["b"], name="again"),
        helper.make_node("Reshape", ["b", "shape"], ["y"], name="reshape"),
    ]
    graph = _graph(nodes, {})
    converted, _ = fp16_from_fp32(graph, _measured(graph))
    assert [node.op_type for node in converted.model.graph.node].count("Cast") == 2, "one in, one out"


def test_the_entropy_path_is_never_converted() -> None:
    graph = _gdn_graph()
    entropy = onnx_graph("hyper", "entropy", graph.model)
    with pytest.raises(EntropyPathError, match="entropy path"):
        fp16_from_fp32(entropy, _measured(graph), allow_partial=True)


def test_an_unmeasured_graph_is_refused() -> None:
    graph = _gdn_graph()
    ranges = _measured(graph)
    partly = Ranges({name: value for name, value in ranges.items() if name != "g"}, ranges.samples)
    with pytest.raises(ExportError, match="never measured"):
        fp16_from_fp32(graph, partly)


def test_exclusions_that_swallow_the_graph_are_not_fp16() -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["y"], name="softmax", axis=1)]
    graph = _graph(nodes, {})
    with pytest.raises(PrecisionNotMetError, match="too little"):
        fp16_from_fp32(graph, _measured(graph))
    _, audit = fp16_from_fp32(graph, _measured(graph), allow_partial=True)
    assert audit.share_of_layers == 0


def test_only_a_flat_fp32_graph_with_named_nodes_is_taken() -> None:
    graph = _gdn_graph()
    unnamed = onnx.ModelProto()
    unnamed.CopyFrom(graph.model)
    unnamed.graph.node[1].name = unnamed.graph.node[0].name
    with pytest.raises(PassContractError, match="share a name"):
        Fp16FromFp32(())(unnamed)
    converted, _ = fp16_from_fp32(graph, _measured(graph), allow_partial=True)
    with pytest.raises(PassContractError, match="not in FP32"):
        Fp16FromFp32(())(converted.model)
    foreign = onnx.ModelProto()
    foreign.CopyFrom(graph.model)
    foreign.graph.node[5].domain = "com.example"
    foreign.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(PassContractError, match="not an ONNX operator"):
        Fp16FromFp32(())(foreign)


def test_a_teachers_stem_stays_in_fp32_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusions, "PIXELS", "x")
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["n"], name="normalise"),
        helper.make_node("Conv", ["n", "codec.stem.w"], ["a"], name="stem"),
        helper.make_node("Relu", ["a"], ["h"], name="relu"),
        helper.make_node("Conv", ["h", "codec.g_a.w"], ["b"], name="learned"),
        helper.make_node("Conv", ["n", "prompts.w"], ["c"], name="prompt"),
        helper.make_node("Add", ["b", "c"], ["y"], name="sum"),
    ]
    weights = {
        "mean": _weights(1, 4, 1, 1),
        "codec.stem.w": _weights(4, 4, 1, 1),
        "codec.g_a.w": _weights(6, 4, 1, 1),
        "prompts.w": _weights(6, 4, 1, 1),
    }
    graph = _graph(nodes, weights)
    _, audit = fp16_from_fp32(graph, _measured(graph), allow_partial=True)
    assert {layer.node for layer in audit.layers if layer.exclusion == "stem"} == {"normalise", "stem", "relu"}
    assert {layer.node for layer in audit.layers if layer.got == "fp16"} == {"learned", "prompt", "sum"}


def test_learned_layers_on_pixels_are_no_stem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusions, "PIXELS", "x")
    nodes = [helper.make_node("Conv", ["x", "codec.g_a.w"], ["y"], name="c")]
    graph = _graph(nodes, {"codec.g_a.w": _weights(2, 4, 1, 1)})
    _, audit = fp16_from_fp32(graph, _measured(graph), allow_partial=True)
    assert [layer.exclusion for layer in audit.layers] == [""]
