"""INT8 as a rewrite: what it quantises, what it leaves by name, what ONNX Runtime makes of it, what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration import Ranges, measure_ranges, observe, thresholds
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.onnx_passes.graph_pass import PassContractError
from ptp_export.precision.exclusions import Exclusion
from ptp_export.precision.fp16 import EntropyPathError
from ptp_export.precision.int8 import Int8FromFp32, int8_from_fp32, quantisable
from ptp_export.precision.int8_exclusions import not_in_int8
from ptp_export.precision.typed_graph import TypedGraph
from ptp_export.tensor_spec import Role
from ptp_runtime.errors import ExportError, PrecisionNotMetError

RNG = np.random.default_rng(8)
PHOTOS = [{"x": RNG.standard_normal((1, 4, 12, 10)).astype(np.float32)} for _ in range(3)]


def _weights(*shape: int) -> np.ndarray:  # type: ignore[type-arg]
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


def _graph(role: Role = "head") -> OnnxGraph:
    """Convolution, GDN, transposed convolutions with and without groups, a product of activations, a last one."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["a", "a"], ["aa"], name="square"),
        helper.make_node("Conv", ["aa", "gamma", "beta"], ["n"], name="norm"),
        helper.make_node("Sqrt", ["n"], ["r"], name="root"),
        helper.make_node("Div", ["a", "r"], ["g"], name="quotient"),
        helper.make_node("ConvTranspose", ["g", "w2"], ["up"], name="up", strides=[1, 1]),
        helper.make_node("ConvTranspose", ["up", "w3"], ["grouped"], name="grouped", strides=[1, 1], group=2),
        helper.make_node("Relu", ["grouped"], ["p"], name="relu"),
        helper.make_node("MatMul", ["p", "m"], ["q"], name="product"),
        helper.make_node("Transpose", ["q"], ["t"], name="turn", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "t"], ["s"], name="attention"),
        helper.make_node("MatMul", ["s", "q"], ["v"], name="mixed"),
        helper.make_node("Conv", ["v", "w4"], ["l"], name="last"),
        helper.make_node("Add", ["l", "one"], ["y"], name="shift"),
    ]
    weights = {
        "w1": _weights(6, 4, 3, 3) * np.geomspace(0.01, 10, 6, dtype=np.float32).reshape(-1, 1, 1, 1),
        "b1": _weights(6),
        "gamma": np.abs(_weights(6, 6, 1, 1)),
        "beta": np.ones(6, np.float32),
        "w2": _weights(6, 8, 1, 1),
        "w3": _weights(8, 3, 1, 1),
        "m": _weights(10, 7),
        "w4": _weights(3, 6, 1, 1),
        "one": np.ones(1, np.float32),
    }
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, "h", 10])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [image], [result], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx_graph("g", role, onnx.shape_inference.infer_shapes(model))


GRAPH = _graph()
TYPED = TypedGraph(GRAPH.model)
RANGES: Ranges = measure_ranges(GRAPH.model, PHOTOS)
READ = sorted({node.input[0] for node in GRAPH.model.graph.node if node.name in quantisable(TYPED)})
THRESHOLDS = thresholds(observe(GRAPH.model, READ, PHOTOS), "minmax")


def _run(model: onnx.ModelProto, photo: dict[str, np.ndarray]) -> np.ndarray:  # type: ignore[type-arg]
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, photo)[0])


def test_what_stays_in_floats_has_a_name() -> None:
    named = {exclusion.name: set(exclusion.nodes) for exclusion in not_in_int8(TYPED)}
    assert named == {
        "activations": {"attention", "mixed"},
        "groups": {"grouped"},
        "gdn": {"norm"},
        "output": {"last"},
    }
    assert quantisable(TYPED) == {"first", "norm", "up", "product", "last"}


@pytest.mark.parametrize("half", [False, True])
def test_products_get_integers_and_the_border_stays(half: bool) -> None:
    converted, audit = int8_from_fp32(GRAPH, RANGES, THRESHOLDS, not_in_int8(TYPED), half=half, least_share=0.3)
    typed = TypedGraph(converted.model)
    kinds = {node.name: typed.computes_in(node) for node in converted.model.graph.node if typed.is_layer(node)}
    assert {name for name, kind in kinds.items() if kind == "int8"} == {"first", "up", "product"}
    assert kinds["norm"] == "fp32"
    assert kinds["last"] == kinds["relu"] == ("fp16" if half else "fp32")
    assert converted.model.graph.input == GRAPH.model.graph.input
    assert [value.name for value in converted.model.graph.output] == ["y"]
    weights = {tensor.name: tensor for tensor in converted.model.graph.initializer}
    whole = numpy_helper.to_array(weights["w1/int8/0/whole"])
    assert whole.dtype == np.int8
    # A scale for each output channel: the smallest uses all levels, too.
    assert np.abs(whole).max(axis=(1, 2, 3)).tolist() == [127] * 6
    assert weights["b1"].data_type == TensorProto.FLOAT
    assert (audit.precision, audit.asked, audit.shortfall) == ("int8", "int8", ())
    assert audit.sentence().startswith("3 of 8 convolutions and matrix products INT8")
    assert {layer["exclusion"] for layer in audit.to_dict()["layers_not_int8"]} == {
        "activations", "groups", "gdn", "output",
    }  # fmt: skip


def test_the_result_is_close_and_the_scales_matter() -> None:
    converted, _ = int8_from_fp32(GRAPH, RANGES, THRESHOLDS, not_in_int8(TYPED), least_share=0.3)
    halved = {name: value / 4 for name, value in THRESHOLDS.items()}
    saturated, _ = int8_from_fp32(GRAPH, RANGES, halved, not_in_int8(TYPED), least_share=0.3)
    errors = {"good": [], "saturated": []}  # type: ignore[var-annotated]
    for photo in PHOTOS:
        expected = _run(GRAPH.model, photo)
        for name, graph in (("good", converted), ("saturated", saturated)):
            difference = _run(graph.model, photo) - expected
            errors[name].append(float(np.linalg.norm(difference) / np.linalg.norm(expected)))
    assert 0 < max(errors["good"]) < 0.1
    assert min(errors["saturated"]) > max(errors["good"])


def test_a_zero_activation_and_a_zero_channel_do_no_harm() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(GRAPH.model)
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            values = numpy_helper.to_array(tensor).copy()
            values[2] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, "w1"))
    quantised = Int8FromFp32(["first"], {"x": 0.0})(model)
    assert np.isfinite(_run(quantised, PHOTOS[0])).all()


def test_products_that_share_weights_and_biases_load_and_are_close() -> None:
    """As the levels of a feature pyramid do."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w", "b"], ["y"], name="second"),
    ]
    image, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 12, 10]) for name in ("x", "y"))
    weights = [numpy_helper.from_array(_weights(4, 4, 1, 1), "w"), numpy_helper.from_array(_weights(4), "b")]
    graph = helper.make_graph(nodes, "g", [image], [result], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    found = Int8FromFp32(["first", "second"], {"x": 5.0, "r": 12.0})(model)
    assert len({node.input[2] for node in found.graph.node if node.op_type == "Conv"}) == 2
    difference = _run(found, PHOTOS[0]) - _run(model, PHOTOS[0])
    assert np.abs(difference).max() < 0.2


def test_weights_alone_are_no_integer_arithmetic() -> None:
    model = Int8FromFp32(["up"], THRESHOLDS)(GRAPH.model)
    for node in model.graph.node:
        if node.name == "up":
            node.input[0] = "g"
    typed = TypedGraph(model)
    assert [typed.computes_in(node) for node in model.graph.node if node.name == "up"] == ["weight-only"]


def test_a_request_that_is_not_met_is_an_error() -> None:
    everything = (*not_in_int8(TYPED), Exclusion("limits", "a search", frozenset({"first", "up", "product"})))
    with pytest.raises(PrecisionNotMetError, match="too little of the graph 'g' in INT8"):
        int8_from_fp32(GRAPH, RANGES, THRESHOLDS, everything)
    graph, audit = int8_from_fp32(GRAPH, RANGES, THRESHOLDS, everything, least_share=0.0)
    assert audit.precision == "fp32"
    assert len(graph.model.graph.node) == len(GRAPH.model.graph.node)
    unnamed = tuple(exclusion for exclusion in not_in_int8(TYPED) if exclusion.name != "groups")
    with pytest.raises(PrecisionNotMetError, match="ConvTranspose grouped"):
        int8_from_fp32(GRAPH, RANGES, THRESHOLDS, unnamed, least_share=0.0)
    int8_from_fp32(GRAPH, RANGES, THRESHOLDS, unnamed, least_share=0.0, allow_partial=True)


def test_a_builder_that_computes_in_floats_is_noticed() -> None:
    _, audit = int8_from_fp32(GRAPH, RANGES, THRESHOLDS, not_in_int8(TYPED), least_share=0.3)
    for got in ("weight-only", "fp16", "fp32"):
        with pytest.raises(PrecisionNotMetError, match="INT8 was not reached"):
            audit.with_engine({"first": got}).require_met("g", allow_partial=False)


def test_what_cannot_be_quantised_is_refused() -> None:
    for nodes, values, words in (
        (["nothing"], THRESHOLDS, "no such node"),
        (["attention"], THRESHOLDS, "cannot be quantised"),
        (["grouped"], THRESHOLDS, "cannot be quantised"),
        (["relu"], THRESHOLDS, "cannot be quantised"),
        (["first"], {}, "never observed"),
    ):
        with pytest.raises(PassContractError, match=words):
            Int8FromFp32(nodes, values)(GRAPH.model)
    with pytest.raises(EntropyPathError):
        int8_from_fp32(_graph("entropy"), RANGES, THRESHOLDS, ())
    with pytest.raises(ExportError, match="never measured"):
        int8_from_fp32(GRAPH, Ranges({}, 1), THRESHOLDS, ())
