"""What an engine computes in, from the JSON of TensorRT's engine inspector.

The inspector gives, for each layer of the engine, the types of the tensors between layers and the ONNX nodes that the
layer came from. Inside a fused layer it shows nothing. So a node has a precision here only where the types leave no
choice: all tensors of its layer of one type, and no node beside it of which something else was asked.

Unseen on a GPU so far: written against the documentation of TensorRT 10 and 11, tested with inspections by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ptp_runtime.errors import EngineError

_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
# The first that fits counts: "FP16" would be found in "BFP16" too.
_TYPES = (
    ("int8", re.compile(r"\bint8\b", re.IGNORECASE)),
    ("fp8", re.compile(r"\bfp8\b", re.IGNORECASE)),
    ("bf16", re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(fp16|half|float16)\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(fp32|float|float32)\b", re.IGNORECASE)),
)


def precision_by_node(text: str, asked: Mapping[str, str]) -> dict[str, str]:
    """ONNX node name → what the engine computes it in, for the nodes of which that can be told.

    Args:
        text: the inspector's JSON of a whole engine, built with detailed profiling verbosity.
        asked: node → precision, of every layer of the graph.

    Raises:
        EngineError: it is no such JSON.
    """
    try:
        layers = json.loads(text)["Layers"]
        # Without detail, a layer is only its name.
        detailed = [layer for layer in layers if isinstance(layer, dict)]
        found: dict[str, str] = {}
        for layer in detailed:
            _read_layer(layer, asked, found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(
            "the engine inspector's answer cannot be read",
            expected="JSON with an array Layers",
            got=repr(error)[:120],
            hint="report this with the version of TensorRT",
        ) from error
    return found


def _read_layer(layer: Mapping[str, Any], asked: Mapping[str, str], found: dict[str, str]) -> None:
    nodes = _ONNX_NODE.findall(str(layer.get("Metadata", "")))
    inputs, outputs = _types(layer.get("Inputs", ())), _types(layer.get("Outputs", ()))
    precision = _precision(inputs, outputs)
    uniform = len({asked.get(node, "") for node in nodes}) == 1
    if not precision or not uniform:
        return
    for node in nodes:
        if node in asked:
            # A node that became several layers is as precise as the longest of them.
            longest = "fp32" in (precision, found.get(node))
            found[node] = "fp32" if longest else precision


def _precision(inputs: set[str], outputs: set[str]) -> str:
    """One type where the tensors leave no choice, else an empty string."""
    if "int8" in inputs:
        return "int8"
    types = inputs | outputs
    return types.pop() if len(types) == 1 else ""


def _types(tensors: Any) -> set[str]:
    """Types of floating-point and quantised tensors; indices and shapes say nothing about precision."""
    found = set()
    for tensor in tensors:
        described = " ".join(str(value) for key, value in tensor.items() if "datatype" in key.lower())
        name = next((name for name, pattern in _TYPES if pattern.search(described)), "")
        if name:
            found.add(name)
    return found
