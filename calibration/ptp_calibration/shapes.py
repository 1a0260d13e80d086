"""The shapes of a graph's tensors at one size of its inputs, of those too that no inference from the file can tell."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from ptp_calibration.cpu_session import CpuSession

_SUFFIX = "/shape"
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def measure_shapes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Run the graph once on zeros and keep the shape of every floating-point tensor.

    Args:
        model: not changed.
        shapes: of the inputs.

    Returns:
        Tensor name → shape, of inputs, inner tensors and outputs.

    Raises:
        CalibrationError: the graph does not take these shapes.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    weights = {initializer.name for initializer in model.graph.initializer}
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    found = (value.name for value in values if value.type.tensor_type.elem_type in _FLOATS)
    names = [name for name in dict.fromkeys(found) if name not in weights]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for name in names:
        watched.graph.node.append(helper.make_node("Shape", [name], [name + _SUFFIX]))
        watched.graph.output.append(helper.make_tensor_value_info(name + _SUFFIX, TensorProto.INT64, [None]))
    zeros = {
        value.name: np.zeros(shapes[value.name], helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in model.graph.input
        if value.name not in weights
    }
    results = CpuSession(watched).run(zeros)
    return {name: tuple(int(n) for n in results[name + _SUFFIX].tolist()) for name in names}
