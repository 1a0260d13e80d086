"""Graph edits: what each requires, what it does, what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ptp_export.onnx_graph import onnx_graph
from ptp_export.onnx_passes.declare_interface import DeclareInterface
from ptp_export.onnx_passes.drop_unused_inputs import DropUnusedInputs
from ptp_export.onnx_passes.fold_constants import FoldConstants
from ptp_export.onnx_passes.graph_pass import PassContractError
from ptp_export.onnx_passes.strip_metadata import StripMetadata
from ptp_export.onnx_passes.widen_int16 import WidenInt16
from ptp_export.onnx_passes.write_initializers import WriteInitializers
from ptp_export.tensor_spec import TensorSpec
from ptp_runtime.errors import ExportError

FLOAT, INT16, INT64 = TensorProto.FLOAT, TensorProto.INT16, TensorProto.INT64


def _value(name: str, dtype: int = FLOAT, shape: tuple[object, ...] = (1, "n")) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(shape))  # type: ignore[arg-type]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray] | None = None,  # type: ignore[type-arg]
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _scaled() -> onnx.ModelProto:
    node = helper.make_node("Mul", ["x", "w"], ["y"], name="scale")
    return _model([node], [_value("x")], [_value("y")], {"w": np.float32([2.0])})


def test_strip_removes_every_trace_of_the_tracer() -> None:
    model = _scaled()
    model.producer_name, model.producer_version, model.doc_string = "pytorch", "2", "secret path"
    for holder in (model, model.graph, model.graph.node[0], model.graph.input[0], model.graph.initializer[0]):
        entry = holder.metadata_props.add()
        entry.key, entry.value = "stack", "secret path"
    model.graph.node[0].doc_string = model.graph.output[0].doc_string = "secret path"
    model.graph.value_info.append(_value("inner", shape=("s39", "s94")))
    stripped = StripMetadata()(model)
    data = stripped.SerializeToString()
    for word in (b"secret", b"stack", b"s39", b"pytorch"):
        assert word not in data
    assert b"secret" in model.SerializeToString(), "the pass works on a copy"


def test_strip_refuses_local_functions() -> None:
    model = _scaled()
    model.functions.append(helper.make_function("", "Mul", ["a", "b"], ["c"], [], [helper.make_opsetid("", 20)]))
    with pytest.raises(PassContractError, match="local functions"):
        StripMetadata()(model)


def test_unused_inputs_go_and_shape_readers_turn_to_a_twin() -> None:
    nodes = [
        helper.make_node("Shape", ["absent"], ["shape"], name="shape"),
        helper.make_node("Reshape", ["x", "shape"], ["y"], name="reshape"),
    ]
    model = _model(nodes, [_value("x"), _value("absent"), _value("never")], [_value("y")])
    edited = DropUnusedInputs()(model)
    assert [value.name for value in edited.graph.input] == ["x"]
    assert edited.graph.node[0].input[0] == "x"
    onnx.checker.check_model(edited, full_check=True)


def test_an_input_read_for_a_shape_of_its_own_stays() -> None:
    nodes = [
        helper.make_node("Shape", ["other"], ["shape"], name="shape"),
        helper.make_node("Expand", ["x", "shape"], ["y"], name="expand"),
    ]
    model = _model(nodes, [_value("x"), _value("other", shape=(3, "m"))], [_value("y", shape=(3, "m"))])
    assert [value.name for value in DropUnusedInputs()(model).graph.input] == ["x", "other"]


def test_constants_fold_to_their_values() -> None:
    nodes = [
        helper.make_node("Mul", ["a", "b"], ["ab"], name="inner"),
        helper.make_node("Constant", [], ["one"], name="constant", value_float=1.0),
        helper.make_node("Add", ["ab", "one"], ["c"], name="outer"),
        helper.make_node("Add", ["x", "c"], ["y"], name="kept"),
    ]
    weights = {"a": np.float32([[2, 3]]), "b": np.float32([[5, 7]])}
    model = _model(nodes, [_value("x", shape=(1, 2))], [_value("y", shape=(1, 2))], weights)
    folded = FoldConstants()(model)
    assert [node.name for node in folded.graph.node] == ["kept"]
    assert {tensor.name for tensor in folded.graph.initializer} == {"c"}
    x = np.float32([[1, 1]])
    np.testing.assert_array_equal(ReferenceEvaluator(folded).run(None, {"x": x})[0], [[12, 23]])


def test_a_convolution_with_computed_weights_is_refused() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    shapes = [_value("x", shape=(1, 1, 4, 4)), _value("w", shape=(1, 1, 1, 1))]
    model = _model([node], shapes, [_value("y", shape=(1, 1, 4, 4))])
    with pytest.raises(PassContractError, match="computes its weights"):
        FoldConstants()(model)


def test_initializers_take_real_values() -> None:
    written = WriteInitializers({"w": np.float32([5.0])})(_scaled())
    np.testing.assert_array_equal(numpy_helper.to_array(written.graph.initializer[0]), [5.0])


@pytest.mark.parametrize(
    "values", [{"lost": np.float32([1.0])}, {"w": np.float32([1.0, 2.0])}, {"w": np.float64([1.0])}]
)
def test_a_lost_or_changed_parameter_is_refused(values: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    with pytest.raises(PassContractError):
        WriteInitializers(values)(_scaled())


def test_the_interface_gets_the_declared_words() -> None:
    inputs, outputs = (TensorSpec("x", "float32", (1, "4*h")),), (TensorSpec("y", "float32", (1, "free")),)
    declared = DeclareInterface(inputs, outputs, None)(_scaled())
    assert declared.graph.input[0].type.tensor_type.shape.dim[1].dim_param == "4*h"
    assert declared.graph.output[0].type.tensor_type.shape.dim[1].dim_param == "free"
    static = DeclareInterface(inputs, outputs, {"h": 3})(_scaled())
    assert static.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 12


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("other", "float32", (1, "n")),
        TensorSpec("x", "uint8", (1, "n")),
        TensorSpec("x", "float32", (1, "n", 3)),
        TensorSpec("x", "float32", (2, "n")),
    ],
)
def test_another_interface_than_declared_is_refused(spec: TensorSpec) -> None:
    with pytest.raises(PassContractError):
        DeclareInterface((spec,), (TensorSpec("y", "float32", (1, "n")),), None)(_scaled())


def _int16_model(inner: bool = False) -> onnx.ModelProto:
    nodes = [helper.make_node("Cast", ["x"], ["mean"], name="cast", to=INT16)]
    outputs = [_value("mean", INT16)]
    if inner:
        nodes.append(helper.make_node("Cast", ["mean"], ["z"], name="again", to=INT64))
        outputs = [_value("z", INT64)]
    return _model(nodes, [_value("x")], outputs)


def test_int16_outputs_widen_to_the_same_integers() -> None:
    x = np.float32([[-8191, 0, 8191]])
    narrow, wide = _int16_model(), WidenInt16()(_int16_model())
    before = ReferenceEvaluator(narrow).run(None, {"x": x})[0]
    after = ReferenceEvaluator(wide).run(None, {"x": x})[0]
    assert (before.dtype, after.dtype) == (np.int16, np.int32)
    np.testing.assert_array_equal(before, after)


def test_int16_inside_a_graph_is_refused() -> None:
    with pytest.raises(PassContractError, match="inside the graph"):
        WidenInt16()(_int16_model(inner=True))


def test_an_invalid_model_is_an_export_error() -> None:
    model = _scaled()
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match="not valid ONNX"):
        onnx_graph("g", "head", model)
