"""The process that builds one engine: ``python -m ptp_export.engines.worker REQUEST.json``.

Standard library and the builder only: this file is started by its path, and a builder shares its process with nothing.
The request names the ONNX file, the shapes and where to write; the report says what the network computed in, layer by
layer, *before* the build, and what the engine's inspector says where there is a device to ask on.

With ``--attached`` it belongs to the process that started it: it ends when its standard input does, and writes its
progress to that file descriptor, a line of JSON each.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

_BETWEEN_LINES_S = 0.05


class Progress:
    """How much of a build is done, from the phases that the builder announces.

    Args:
        file: of lines of JSON; None: nothing is told.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._phases: dict[str, list[Any]] = {}  # name → parent, steps done, steps
        self._told = 0.0
        self._most = 0.0
        self.cancelled = False

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self._phases[phase] = [parent, 0, max(1, steps)]
        self._tell(phase)

    def step(self, phase: str, step: int) -> bool:
        """A step is done; False asks the builder to stop."""
        if phase in self._phases:
            self._phases[phase][1] = step + 1
            self._tell(phase)
        return not self.cancelled

    def finish(self, phase: str) -> None:
        parent, _, steps = self._phases.get(phase, [None, 0, 1])
        if parent is None:
            self._phases[phase] = [None, steps, steps]
            self._tell(phase, now=True)
        else:
            del self._phases[phase]

    def share(self) -> float:
        """From 0 to 1."""
        return max((self._share(name) for name, (parent, _, _) in self._phases.items() if parent is None), default=0.0)

    def _share(self, phase: str) -> float:
        _, done, steps = self._phases[phase]
        running = max((self._share(name) for name, of in self._phases.items() if of[0] == phase), default=0.0)
        return float(min(1.0, (done + running) / steps))

    def _tell(self, phase: str, *, now: bool = False) -> None:
        if self._file is None or not (now or time.monotonic() - self._told > _BETWEEN_LINES_S):
            return
        self._told = time.monotonic()
        # A phase may announce fewer steps than it takes.
        self._most = max(self._most, self.share())
        try:
            self._file.write(json.dumps({"phase": phase, "share": round(self._most, 4)}) + "\n")
            self._file.flush()
        except OSError:
            # Nobody listens any more: the build is of no use to anybody.
            self.cancelled = True


def build(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Parse, audit, build and, where there is a device, inspect.

    Args:
        request: ``module``, ``onnx``, ``plan``, ``profile`` (input → three shapes), ``compute_capabilities``,
            ``compatible``, ``strip_weights`` and ``timing_cache`` (a path, or an empty string).
        progress: told about the build.

    Returns:
        ``version``, ``layers``, ``inputs``, ``outputs``, ``tf32``, ``seconds`` and ``bytes`` of the build, and
        ``inspection`` or ``not_inspected``; or ``error``.
    """
    trt = importlib.import_module(request["module"])
    logger = _logger(trt)
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
    # Without it, an engine cannot say afterwards what it computes in.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _choose_devices(trt, config, request["compute_capabilities"])
    _choose_kind(trt, config, request)
    timing_cache = _timing_cache(config, request["timing_cache"])
    config.progress_monitor = _monitor(trt, progress)
    profile = builder.create_optimization_profile()
    for name, shapes in request["profile"].items():
        profile.set_shape(name, *(tuple(shape) for shape in shapes))
    config.add_optimization_profile(profile)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    report["seconds"] = time.perf_counter() - start
    if plan is None:
        return report | {"error": logger.first_error or "the builder gave no engine"}
    data = bytes(plan)
    _write(Path(request["plan"]), data)
    if timing_cache is not None:
        _write(Path(request["timing_cache"]), bytes(timing_cache.serialize()))
    return report | {"bytes": len(data)} | _inspection(trt, data)


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
        name = "SM" + capability.replace(".", "")
        if not hasattr(trt.ComputeCapability, name):
            known = [known for known in dir(trt.ComputeCapability) if known.startswith("SM")]
            raise ValueError(f"this builder knows no compute capability {capability}; it knows {', '.join(known)}")
        config.set_compute_capability(getattr(trt.ComputeCapability, name), i)


def _choose_kind(trt: Any, config: Any, request: dict[str, Any]) -> None:
    """Portability and weights. A builder that lacks what was asked for is an error, not a shrug."""
    flags = {"version": "VERSION_COMPATIBLE"}
    wanted = [flags[name] for name in request["compatible"] if name in flags]
    wanted += ["STRIP_PLAN"] if request["strip_weights"] else []
    for name in wanted:
        if not hasattr(trt.BuilderFlag, name):
            raise ValueError(f"this builder has no flag {name}")
        config.set_flag(getattr(trt.BuilderFlag, name))
    if "hardware" in request["compatible"]:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS


def _timing_cache(config: Any, path: str) -> Any:
    """Earlier measurements of kernels; None where the request names no file."""
    if not path:
        return None
    earlier = Path(path).read_bytes() if Path(path).is_file() else b""
    cache = config.create_timing_cache(earlier)
    if cache is None or not config.set_timing_cache(cache, False):
        # Of another version, or damaged.
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _inspection(trt: Any, plan: bytes) -> dict[str, str]:
    """What the engine says of itself, which it does on a device only."""
    logger = _logger(trt, silent=True)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan) if runtime is not None else None
    if engine is None:
        return {"not_inspected": logger.first_error or "the engine does not load on this machine"}
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return {"inspection": text}


def _logger(trt: Any, *, silent: bool = False) -> Any:
    """Prints what the builder says, and remembers its first error."""

    class Log(trt.ILogger):
        """See above."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.first_error = ""

        def log(self, severity: Any, message: str) -> None:
            """Called by the builder for each line."""
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.first_error = self.first_error or message.strip().partition("\n")[0]
            if severity != trt.ILogger.VERBOSE and not silent:
                sys.stderr.write(f"[{getattr(severity, 'name', severity)}] {message}\n")

    return Log()


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Passes on what the builder announces."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


def _write(path: Path, data: bytes) -> None:
    """Beside, then renamed: a reader finds all of it or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _layer(layer: Any) -> dict[str, Any]:
    reads = [layer.get_input(i) for i in range(layer.num_inputs)]
    writes = [tensor for tensor in (layer.get_output(i) for i in range(layer.num_outputs)) if tensor is not None]
    return {
        "name": layer.name,
        "type": layer.type.name,
        "metadata": getattr(layer, "metadata", ""),
        "outputs": [tensor.dtype.name for tensor in writes],
        "reads": [tensor.name if tensor is not None else "" for tensor in reads],
        "writes": [tensor.name for tensor in writes],
    }


def _tensor(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype.name, "shape": list(tensor.shape)}


def _end_with_input() -> None:
    """End this process when its standard input does: whoever started it is gone, or wants no more of it."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(3)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Build what the request file says and write the report beside it.

    Returns:
        0 when an engine was written, 1 when the builder refused.
    """
    attached = arguments[1:2] == ["--attached"] and len(arguments) == 3
    if len(arguments) != 1 and not attached:
        sys.stderr.write("usage: python -m ptp_export.engines.worker REQUEST.json [--attached FD]\n")
        return 2
    if attached:
        _end_with_input()
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    progress = Progress(os.fdopen(int(arguments[2]), "w", encoding="utf-8") if attached else None)
    report = build(request, progress)
    _write(Path(request["report"]), json.dumps(report).encode())
    if "error" in report:
        sys.stderr.write(report["error"] + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
