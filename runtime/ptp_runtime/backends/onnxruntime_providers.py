"""ONNX Runtime's execution providers by the name of our backend, and the options that each gets. Imports nothing heavy.

The providers of TensorRT compile the ONNX file when it is loaded, which takes seconds to minutes the first time and is
cached; the bundle's own engines are not used. What neither of them takes, CUDA computes.

Unseen on a GPU so far.
"""

from __future__ import annotations

import logging
from typing import Any

from ptp_runtime.manifest import GraphEntry
from ptp_runtime.user_cache import user_cache

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "ort-tensorrt": "TensorrtExecutionProvider",
    "ort-tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
}
"""Backend → execution provider."""

LABELS = {"cuda": "CUDA", "ort-tensorrt": "TensorRT", "ort-tensorrt-rtx": "TensorRT for RTX"}
"""Backend → what people call it, behind ``ONNX Runtime``; the CPU says how many threads instead."""

_log = logging.getLogger(__name__)

# TF32 rounds the operands to 10 bits: not what an FP32 graph promises.
_CUDA: tuple[str, dict[str, str]] = ("CUDAExecutionProvider", {"use_tf32": "0"})


def provider_options(device: str, graph: GraphEntry) -> list[Any]:
    """What ``InferenceSession(providers=...)`` takes.

    Args:
        device: one of :data:`PROVIDERS`.
        graph: whose precision decides what TensorRT's provider may use: it takes the graph's types for a hint, and
            needs leave for FP16.
    """
    provider = PROVIDERS[device]
    if device == "cuda":
        return [_CUDA]
    if device == "ort-tensorrt":
        allowed = {"int8": ("trt_fp16_enable", "trt_int8_enable"), "fp16": ("trt_fp16_enable",)}
        options = dict.fromkeys(allowed.get(graph.precision, ()), "1")
        if cache := _cache(device):
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": cache, "trt_timing_cache_enable": "1"}
        return [(provider, options), _CUDA]
    if device == "ort-tensorrt-rtx":
        cache = _cache(device)
        return [(provider, {"nv_runtime_cache_path": cache} if cache else {}), _CUDA]
    return [provider]


def _cache(device: str) -> str:
    """The folder of what a provider has compiled; empty where none can be written: it then compiles each time."""
    try:
        folder = user_cache(device)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        _log.debug("what %s compiles is not kept: %s", device, error)
        return ""
    return str(folder)
