"""The least time that a processor needs for the networks: their multiply-accumulates at the rate of a large product.

A runtime that computes what the graphs say cannot be faster than that, whatever it fuses; so the floor says how much a
better runtime could still bring.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from graph_inputs import inputs_of_graphs
from onnx import TensorProto, helper

from ptp_calibration.shapes import measure_shapes
from ptp_export.precision.cost import multiply_accumulates
from ptp_export.precision.typed_graph import TypedGraph
from ptp_runtime.session import Session

#: Side of the matrices whose product gives the rate.
SIDE = 2048


class Product:
    """A product of two large matrices in ONNX Runtime.

    Args:
        threads: of the operator.
    """

    def __init__(self, threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Between its runs others work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._x = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "product",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [SIDE, SIDE])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [SIDE, SIDE])],
            [onnx.numpy_helper.from_array(self._x, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self) -> None:
        """Once: SIDE³ multiply-accumulates."""
        self._session.run(None, {"x": self._x})


def floor(session: Session, pixels: npt.NDArray[np.uint8], milliseconds: float) -> dict[str, Any]:
    """What one encode and one decode of a photograph take at least.

    Args:
        session: of a bundle.
        pixels: uint8 [H, W, 3].
        milliseconds: that :class:`Product` takes, beside what is compared with the floor: a shared machine is not
            always equally fast.

    Returns:
        ``gmac`` of each graph, ``gmac_per_s``, and milliseconds of ``encode`` and ``decode``.
    """
    seen = inputs_of_graphs(session, pixels)
    counts: dict[str, int] = {}
    for entry in session.manifest.graphs:
        model = onnx.load_model_from_string(session.bundle.read(entry))
        shapes = measure_shapes(model, {name: array.shape for name, array in seen[entry.name].items()})
        ranges: Any = {name: SimpleNamespace(shape=shape) for name, shape in shapes.items()}
        typed = TypedGraph(model)
        counts[entry.name] = sum(multiply_accumulates(node, typed, ranges) for node in model.graph.node)
    rate = 1e3 * SIDE**3 / milliseconds
    roles = {entry.name: entry.role for entry in session.manifest.graphs}

    def least(*wanted: str) -> float:
        return 1e3 * sum(count for name, count in counts.items() if roles[name] in wanted) / rate

    return {
        "gmac": {name: count / 1e9 for name, count in counts.items()},
        "gmac_per_s": rate / 1e9,
        "encode": least("analysis", "entropy"),
        "decode": least("entropy", "synthesis", "head"),
    }
