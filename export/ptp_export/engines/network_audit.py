"""What a builder's network computes in, told from its layers before the build."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ptp_runtime.errors import PrecisionNotMetError

_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")

#: Layers the parser adds around a node, which say nothing about the node's arithmetic.
_HELPERS = frozenset({"CAST", "CONSTANT", "GATHER", "IDENTITY", "SHAPE", "SHUFFLE", "SLICE", "SQUEEZE", "UNSQUEEZE"})


def precision_by_node(layers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """ONNX node name → ``fp16`` or ``fp32``, from the metadata that the parser leaves in each layer.

    A node with several layers counts as FP16 only if all of them compute in FP16. Nodes without a float layer are
    absent.

    Args:
        layers: ``type``, ``metadata`` and ``outputs`` (dtype names) of each layer.
    """
    computed: dict[str, str] = {}
    for layer in layers:
        if layer["type"] in _HELPERS:
            continue
        kinds = {dtype for dtype in layer["outputs"] if dtype in ("FLOAT", "HALF", "BF16")}
        if not kinds:
            continue
        precision = "fp16" if kinds == {"HALF"} else "fp32"
        for node in _ONNX_NODE.findall(layer["metadata"]):
            computed[node] = "fp32" if "fp32" in (precision, computed.get(node)) else "fp16"
    return computed


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
