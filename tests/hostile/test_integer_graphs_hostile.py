"""Files that are no integer graphs: each way to be wrong is refused, by the certificate and by the oracle alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration.integer_path import GraphError, IntegerOracle, IntegerPath, IntegerPathError, convert, prove
from ptp_calibration.integer_path.pocket_network import pocket_network, pocket_samples

Edit = Callable[[onnx.GraphProto], None]


@pytest.fixture(scope="module")
def path() -> IntegerPath:
    network = pocket_network("checkerboard", seed=1)
    return convert(network, pocket_samples(network, seed=1))


def _node(graph: onnx.GraphProto, operator: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.op_type == operator)


def _constant(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(constant for constant in graph.initializer if constant.name == name)


def _set(node: onnx.NodeProto, name: str, value: object) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _replaced(graph: onnx.GraphProto, name: str, value: object, dtype: type[np.generic]) -> None:
    _constant(graph, name).CopyFrom(numpy_helper.from_array(np.asarray(value, dtype), name))


def _other_domain(graph: onnx.GraphProto) -> None:
    _node(graph, "Floor").domain = "com.example"


def _external(graph: onnx.GraphProto) -> None:
    constant = _constant(graph, "step_01/aggregate/0/weight")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="weights.bin")


def _computed_weight(graph: onnx.GraphProto) -> None:
    _node(graph, "Conv").input[1] = "y_int/clipped"


def _unknown_input(graph: onnx.GraphProto) -> None:
    _node(graph, "Floor").input[0] = "nowhere"


def _taken_name(graph: onnx.GraphProto) -> None:
    _node(graph, "Floor").output[0] = "y_int"


def _missing_output(graph: onnx.GraphProto) -> None:
    graph.output[0].name = "nothing"


def _two_constants_of_one_name(graph: onnx.GraphProto) -> None:
    graph.initializer.append(graph.initializer[0])


def _integer_input(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def _free_channels(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[1].dim_param = "c"


def _fractional_clip(graph: onnx.GraphProto) -> None:
    _replaced(graph, "constant/63", 62.5, np.float32)


def _clip_of_vectors(graph: onnx.GraphProto) -> None:
    _replaced(graph, "constant/63", [63, 63], np.float32)


def _clip_upside_down(graph: onnx.GraphProto) -> None:
    _replaced(graph, "constant/63", -5, np.float32)


def _infinite_clip(graph: onnx.GraphProto) -> None:
    _replaced(graph, "constant/63", np.inf, np.float32)


def _nan_weight(graph: onnx.GraphProto) -> None:
    name = "step_01/aggregate/0/weight"
    value = numpy_helper.to_array(_constant(graph, name)).copy()
    value.flat[0] = np.nan
    _replaced(graph, name, value, np.float32)


def _double_weight(graph: onnx.GraphProto) -> None:
    name = "step_01/aggregate/0/weight"
    _replaced(graph, name, numpy_helper.to_array(_constant(graph, name)), np.float64)


def _cast(target: int) -> Edit:
    return lambda graph: _set(_node(graph, "Cast"), "to", target)


def _conv(name: str, value: object) -> Edit:
    return lambda graph: _set(_node(graph, "Conv"), name, value)


def _operator(before: str, after: str) -> Edit:
    def edit(graph: onnx.GraphProto) -> None:
        _node(graph, before).op_type = after

    return edit


WRONG: dict[str, tuple[str, Edit]] = {
    "another operator": ("the operator Round", _operator("Floor", "Round")),
    "an activation that is no integer": ("the operator Sigmoid", _operator("Floor", "Sigmoid")),
    "another domain": ("the operator Floor", _other_domain),
    "data outside": ("data outside of the file", _external),
    "weights that are computed": ("as input 1; expected a finite float32 constant", _computed_weight),
    "an unknown tensor": ("'nowhere', which nothing before it computes", _unknown_input),
    "a name taken": ("'y_int', whose name is taken", _taken_name),
    "an output that is not there": ("the output nothing", _missing_output),
    "two tensors of one name": ("two tensors of one name", _two_constants_of_one_name),
    "an input of another type": ("expected float32", _integer_input),
    "an input without channels": ("expected float32", _free_channels),
    "a clip between whole numbers": ("bounds that are no whole numbers", _fractional_clip),
    "a clip of vectors": ("bounds that are no whole numbers", _clip_of_vectors),
    "a clip upside down": ("the lower one first", _clip_upside_down),
    "a clip at infinity": ("a finite float32 constant", _infinite_clip),
    "a weight that is not a number": ("a finite float32 constant", _nan_weight),
    "weights in another format": ("a finite float32 constant", _double_weight),
    "a cast to float16": ("expected uint8 or int16", _cast(TensorProto.FLOAT16)),
    "a stride": ("strides", _conv("strides", [2, 2])),
    "a dilation": ("dilations", _conv("dilations", [2, 2])),
    "groups": ("group = 2", _conv("group", 2)),
    "another padding": ("the padding", _conv("pads", [1, 0, 0, 0])),
    "automatic padding": ("auto_pad", _conv("auto_pad", "SAME_UPPER")),
    "an unknown attribute": ("alpha", _conv("alpha", 1.0)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_no_integer_graph_is_refused(path: IntegerPath, case: str) -> None:
    message, edit = WRONG[case]
    model = onnx.ModelProto()
    model.CopyFrom(path.graphs["step_01"])
    edit(model.graph)
    graphs = {**path.graphs, "step_01": model}
    for read in (prove, IntegerOracle):
        with pytest.raises(GraphError, match=message):
            read(graphs)


def test_functions_and_other_domains_are_refused(path: IntegerPath) -> None:
    for change in (lambda m: m.opset_import.add(domain="com.example", version=1), lambda m: m.functions.add(name="f")):
        model = onnx.ModelProto()
        model.CopyFrom(path.graphs["step_00"])
        change(model)
        with pytest.raises(GraphError, match="functions, sparse weights or operators of another domain"):
            prove({**path.graphs, "step_00": model})


def test_a_cast_that_could_overflow_is_refused(path: IntegerPath) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(path.graphs["step_00"])
    _replaced(model.graph, "constant/0", -1, np.float32)
    with pytest.raises(GraphError, match="do not all fit uint8"):
        prove({**path.graphs, "step_00": model})


def test_the_clip_of_an_external_input_cannot_be_left_out(path: IntegerPath) -> None:
    for name, source in (("hyper", "z_hat"), ("step_01", "y_int")):
        model = onnx.ModelProto()
        model.CopyFrom(path.graphs[name])
        for node in model.graph.node:
            if node.op_type != "Clip":
                node.input[:] = [source if tensor == f"{source}/clipped" else tensor for tensor in node.input]
        with pytest.raises(GraphError, match="they must meet a Clip first"):
            prove({**path.graphs, name: model})


def test_random_damage_is_never_proved_wrongly(path: IntegerPath) -> None:
    """Any weight replaced by any float is refused, or proved with bounds that hold for it too."""
    rng = np.random.default_rng(0)
    name = "step_01/aggregate/0/weight"
    refused = 0
    for _ in range(40):
        model = onnx.ModelProto()
        model.CopyFrom(path.graphs["step_01"])
        value = numpy_helper.to_array(_constant(model.graph, name)).copy()
        value.flat[rng.integers(value.size)] = np.float32(rng.normal() * 2.0 ** rng.integers(-20, 20))
        _replaced(model.graph, name, value, np.float32)
        try:
            prove({**path.graphs, "step_01": model})
        except IntegerPathError:
            refused += 1
    assert refused >= 38, "24 random bits do not fit beside the others"
