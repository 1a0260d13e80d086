"""What a builder's network computes in, told from its layers before the build."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ptp_runtime.errors import PrecisionNotMetError

_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")

#: Layers the parser adds around a node, which say nothing about the node's arithmetic.
_HELPERS = frozenset(
    {
        "CAST", "CONSTANT", "DEQUANTIZE", "GATHER", "IDENTITY", "QUANTIZE", "SHAPE", "SHUFFLE", "SLICE", "SQUEEZE",
        "UNSQUEEZE",
    }
)  # fmt: skip
#: Layers that TensorRT runs on integers when both of their operands come out of a dequantisation.
_PRODUCTS = frozenset({"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"})
_FLOATS = frozenset({"FLOAT", "HALF", "BF16", "FP8"})


def precision_by_node(layers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """ONNX node name → what the network computes it in, from the metadata that the parser leaves in each layer.

    ``int8``: both operands of a product are dequantised in front of it, which is how a strongly typed network asks for
    integers; ``weight-only``: its weights alone are. Else ``fp16`` if all layers of the node give FP16, or ``fp32``.
    Nodes without a float layer are absent.

    Args:
        layers: ``type``, ``metadata`` and ``outputs`` (dtype names) of each layer, ``reads`` and ``writes`` (tensors).
    """
    writers = {tensor: layer for layer in layers for tensor in layer.get("writes", ())}
    computed: dict[str, str] = {}
    quantised: dict[str, str] = {}
    for layer in layers:
        kinds = _FLOATS & set(layer["outputs"])
        if layer["type"] in _HELPERS or not kinds:
            continue
        precision = "fp16" if kinds == {"HALF"} else "fp32"
        integers = _in_integers(layer, writers) if layer["type"] in _PRODUCTS else ""
        for node in _ONNX_NODE.findall(layer["metadata"]):
            computed[node] = "fp32" if "fp32" in (precision, computed.get(node)) else "fp16"
            if integers:
                quantised[node] = integers
    return computed | quantised


def _in_integers(layer: Mapping[str, Any], writers: Mapping[str, Mapping[str, Any]]) -> str:
    """``int8``, ``weight-only`` or an empty string, of a product."""
    dequantised = [_behind_helpers(tensor, writers) == "DEQUANTIZE" for tensor in layer.get("reads", ())[:2]]
    if dequantised == [True, True]:
        return "int8"
    return "weight-only" if dequantised == [False, True] else ""


def _behind_helpers(tensor: str, writers: Mapping[str, Mapping[str, Any]]) -> str:
    """The type of the layer that a tensor comes from, moves of values passed over."""
    for _ in range(len(writers)):
        layer = writers.get(tensor)
        if layer is None or layer["type"] not in ("SHUFFLE", "IDENTITY"):
            return "" if layer is None else str(layer["type"])
        tensor = layer["reads"][0]
    return ""


def require_exact(name: str, report: Mapping[str, Any]) -> None:
    """Raise :class:`PrecisionNotMetError` unless a builder kept its short-cuts away from an entropy graph.

    Args:
        name: of the graph.
        report: of the worker; ``tf32`` says whether FP32 operands may be rounded, where the builder knows such a thing.
    """
    if report.get("tf32"):
        raise PrecisionNotMetError(
            f"the builder rounds the FP32 operands of the entropy graph {name!r}",
            expected="TF32 cleared",
            got="TF32 set",
            hint="use another version of the builder",
        )


def require_fp32(name: str, layers: Sequence[Mapping[str, Any]]) -> None:
    """Raise :class:`PrecisionNotMetError` if any layer of an FP32 graph computes in a shorter type."""
    short = [layer["name"] for layer in layers if {"HALF", "BF16", "FP8"} & set(layer["outputs"])]
    if short:
        raise PrecisionNotMetError(
            f"the builder's network of the FP32 graph {name!r} is not in FP32",
            expected="float32 throughout",
            got=f"{len(short)} layers in a shorter type, such as {short[0]}",
        )
