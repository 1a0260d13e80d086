"""Which tensors of an integer graph are the layers' results."""

from __future__ import annotations

import onnx


def layer_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Layers of an integer graph in the order of computation (of a float graph the result means nothing).

    A layer is what follows a Floor with a Clip, and the pixel shuffle behind it where there is one; the file names that
    tensor like the layer.
    """
    maker = {name: node.op_type for node in model.graph.node for name in node.output}
    shuffled = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "DepthToSpace"}
    clips = [node for node in model.graph.node if node.op_type == "Clip" and maker.get(node.input[0]) == "Floor"]
    return tuple(shuffled.get(node.output[0], node.output[0]) for node in clips)
