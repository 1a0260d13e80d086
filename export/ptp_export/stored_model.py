"""A graph of a bundle as an ONNX model, with its task's prompt where the tasks share the file."""

from __future__ import annotations

import onnx

from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import GraphEntry


def stored_model(bundle: Bundle, entry: GraphEntry) -> onnx.ModelProto:
    """The model; a prompt's tensors are weights like any other, and no inputs.

    Raises:
        BundleError: a file is not the one that was exported.
    """
    return with_defaults(onnx.load_model_from_string(bundle.read(entry)))


def with_defaults(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the inputs that have default values, which then are constants."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    if len(kept) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(kept)
    return model
