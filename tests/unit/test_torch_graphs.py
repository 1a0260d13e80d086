"""The torch reading of the entropy graphs, against ONNX Runtime: equal bit for bit where the arithmetic is exact."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ptp_export.graphs.hyper import hyper_graph
from ptp_export.graphs.step import step_graph
from ptp_export.interop.torch_graphs import TorchGraph
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
from ptp_runtime.errors import EngineError

Array = NDArray[np.generic]


def _runtime(model: onnx.ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.output]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _integer_step(seed: int = 0) -> onnx.ModelProto:
    """A step in the form of the integer path: a hyper part and a context, two layers, quadrants and a split head."""
    generator = np.random.default_rng(seed)

    def dyadic(shape: tuple[int, ...], limit: int, shift: int) -> NDArray[np.float32]:
        return generator.integers(-limit, limit + 1, shape).astype(np.float32) / np.float32(2**shift)

    constants = {
        "w0": dyadic((8, 4, 3, 3), 127, 9),
        "w1": dyadic((16, 8, 3, 3), 127, 15),
        "b1": dyadic((16,), 2**20, 15) + np.float32(0.5),
        "low": np.float32(-1023),
        "high": np.float32(1023),
        "zero": np.float32(0),
        "last": np.float32(63),
        "sizes": np.array([2, 2], np.int64),
        "from": np.array([0, 2], np.int64),
        "to": np.array([4, 2**62], np.int64),
        "axes": np.array([1, 2], np.int64),
    }
    nodes = [
        helper.make_node("Clip", ["y_int", "low", "high"], ["context"]),
        helper.make_node("Slice", ["context", "from", "to", "axes"], ["decoded"]),
        helper.make_node("Conv", ["decoded", "w0"], ["raw0"], name="step_01/local/0", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["part_01", "raw0"], ["sum0"]),
        helper.make_node("Floor", ["sum0"], ["floor0"]),
        helper.make_node("Clip", ["floor0", "zero", "high"], ["step_01/local/0"]),
        helper.make_node(
            "Conv", ["step_01/local/0", "w1", "b1"], ["raw1"], name="step_01/aggregate/0", pads=[1, 1, 1, 1]
        ),
        helper.make_node("Floor", ["raw1"], ["floor1"]),
        helper.make_node("Clip", ["floor1", "low", "high"], ["clip1"]),
        helper.make_node("DepthToSpace", ["clip1"], ["step_01/aggregate/0"], blocksize=2, mode="CRD"),
        helper.make_node("Split", ["step_01/aggregate/0", "sizes"], ["mean_f", "index_f"], axis=1),
        helper.make_node("Clip", ["index_f", "zero", "last"], ["index_c"]),
        helper.make_node("Cast", ["index_c"], ["index"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["mean_f"], ["mean"], to=TensorProto.INT16),
    ]
    part = helper.make_tensor_value_info("part_01", TensorProto.FLOAT, [1, 8, "r", "c"])
    y_int = helper.make_tensor_value_info("y_int", TensorProto.FLOAT, [1, 6, "rows", "c"])
    index = helper.make_tensor_value_info("index", TensorProto.UINT8, [1, 2, "2*r", "2*c"])
    mean = helper.make_tensor_value_info("mean", TensorProto.INT16, [1, 2, "2*r", "2*c"])
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "step_01", [part, y_int], [index, mean], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _integers(seed: int, rows: int, columns: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {
        "part_01": generator.integers(-40000, 40000, (1, 8, rows - 2, columns)).astype(np.float32) / 512,
        "y_int": generator.integers(-3000, 3000, (1, 6, rows, columns)).astype(np.float32),
    }


@pytest.mark.parametrize(("rows", "columns"), [(6, 8), (9, 13), (32, 21)])
def test_an_integer_step_is_equal_bit_for_bit(rows: int, columns: int) -> None:
    model, inputs = _integer_step(), _integers(3, rows, columns)
    graph = TorchGraph(model)

    found, expected = graph.run(inputs), _runtime(model, inputs)

    assert {name: array.dtype for name, array in found.items()} == {"index": np.uint8, "mean": np.int16}
    for name, array in expected.items():
        assert len(np.unique(array)) > 20, "the stimulus reaches too few values to show a difference"
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_layers_are_given_by_their_names() -> None:
    inputs = _integers(3, 6, 8)
    layers = TorchGraph(_integer_step()).layers(inputs)

    assert {name: array.shape for name, array in layers.items()} == {
        "step_01/local/0": (1, 8, 4, 8),
        "step_01/aggregate/0": (1, 4, 8, 16),
    }
    assert all((array == np.floor(array)).all() and array.any() for array in layers.values())


def test_channels_last_is_the_same_graph() -> None:
    inputs = _integers(5, 12, 20)
    plain = TorchGraph(_integer_step())
    turned = TorchGraph(_integer_step()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    for name, array in plain.run(inputs).items():
        np.testing.assert_array_equal(turned.run(inputs)[name], array)


@pytest.mark.parametrize("context", ["checkerboard", "zigzag"])
def test_the_float_graphs_of_both_contexts_run(context: str) -> None:
    torch.manual_seed(2)
    codec = FeatureCodec(preset("tiny", context=context)).eval()
    spec, generator = codec.spec, np.random.default_rng(0)
    tensors: dict[str, Array] = {
        "z_hat": generator.integers(-9, 9, (1, spec.Z, 2, 3)).astype(np.float32),
        "y_int": generator.integers(-200, 200, (1, spec.M, 8, 12)).astype(np.float32),
    }
    second = step_graph(codec, 1)
    for graph in (hyper_graph(codec, None), second):
        model = onnx_from_graph(graph, None).model
        names = [value.name for value in model.graph.input]
        found = TorchGraph(model).run({name: tensors[name] for name in names})
        expected = _runtime(model, {name: tensors[name] for name in names})
        for name, array in expected.items():
            assert found[name].shape == array.shape
            assert found[name].dtype == array.dtype
            # Float sums in another order: close, and one unit apart where a rounding lies between them.
            np.testing.assert_allclose(
                found[name].astype(np.float64), array, atol=1e-4 if array.dtype == np.float32 else 1
            )
            tensors[name] = array


def test_an_unknown_operator_is_refused_when_the_graph_is_read() -> None:
    model = _integer_step()
    model.graph.node[4].op_type = "Ceil"

    with pytest.raises(EngineError, match="Ceil"):
        TorchGraph(model)


def test_another_pixel_order_is_refused() -> None:
    model = _integer_step()
    node = next(node for node in model.graph.node if node.op_type == "DepthToSpace")
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("blocksize", 2))

    with pytest.raises(EngineError, match="CRD"):
        TorchGraph(model).run(_integers(3, 6, 8))
