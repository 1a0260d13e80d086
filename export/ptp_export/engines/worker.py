"""The process that builds one engine: ``python -m ptp_export.engines.worker REQUEST.json``.

Standard library and the builder only: this file is started by its path, and a builder shares its process with nothing.
The request names the ONNX file, the shapes and where to write; the report says what the network computed in, layer by
layer, *before* the build, because an engine can be inspected on its own device only.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Parse, audit and build.

    Args:
        request: ``module``, ``onnx``, ``plan``, ``profile`` (input → three shapes), ``compute_capabilities``.

    Returns:
        ``version``, ``layers``, ``inputs``, ``outputs``, ``tf32``, and ``seconds`` and ``bytes`` of the build, or
        ``error``.
    """
    trt = importlib.import_module(request["module"])
    logger = trt.Logger(trt.Logger.INFO)
    builder = trt.Builder(logger)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    report: dict[str, Any] = {"version": trt.__version__}
    if not parser.parse(Path(request["onnx"]).read_bytes()):
        return report | {"error": "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))}
    report["layers"] = [_layer(network.get_layer(i)) for i in range(network.num_layers)]
    report["inputs"] = [_tensor(network.get_input(i)) for i in range(network.num_inputs)]
    report["outputs"] = [_tensor(network.get_output(i)) for i in range(network.num_outputs)]
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default; it would round FP32 operands to 11 bits
        report["tf32"] = bool(config.get_flag(trt.BuilderFlag.TF32))
    _choose_devices(trt, config, request["compute_capabilities"])
    profile = builder.create_optimization_profile()
    for name, shapes in request["profile"].items():
        profile.set_shape(name, *(tuple(shape) for shape in shapes))
    config.add_optimization_profile(profile)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    report["seconds"] = time.perf_counter() - start
    if plan is None:
        return report | {"error": "the builder gave no engine"}
    data = bytes(plan)
    Path(request["plan"]).write_bytes(data)
    return report | {"bytes": len(data)}


def _strongly_typed(trt: Any) -> int:
    """The network flag of TensorRT 10 and RTX; a version without the flag has no other kind of network."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _choose_devices(trt: Any, config: Any, capabilities: list[str]) -> None:
    if not capabilities:
        return
    if not hasattr(config, "set_compute_capability"):
        raise ValueError("this builder builds for the device it runs on; compute capabilities cannot be chosen")
    config.num_compute_capabilities = len(capabilities)
    for i, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, "SM" + capability.replace(".", "")), i)


def _layer(layer: Any) -> dict[str, Any]:
    outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
    return {
        "name": layer.name,
        "type": layer.type.name,
        "metadata": getattr(layer, "metadata", ""),
        "outputs": [output.dtype.name for output in outputs if output is not None],
    }


def _tensor(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype.name, "shape": list(tensor.shape)}


def main(arguments: list[str]) -> int:
    """Build what the request file says and write the report beside it.

    Returns:
        0 when an engine was written, 1 when the builder refused.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m ptp_export.engines.worker REQUEST.json\n")
        return 2
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    report = build(request)
    Path(request["report"]).write_text(json.dumps(report), encoding="utf-8")
    if "error" in report:
        sys.stderr.write(report["error"] + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
