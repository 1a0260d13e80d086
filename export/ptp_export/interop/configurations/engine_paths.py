"""TensorRT and TensorRT for RTX: what can be built without a device, and the engines of a bundle with one."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ptp_export.engines.engine_from_onnx import engine_from_onnx
from ptp_export.engines.targets import Target
from ptp_export.interop.configurations.configuration import Configuration, EntropyFiles, OpenedGraphs
from ptp_export.onnx_graph import onnx_graph
from ptp_export.sizes import Size, SizeRange
from ptp_runtime.backends import Graph
from ptp_runtime.backends.selection import open_backend
from ptp_runtime.errors import BackendNotAvailableError, ExportError, MissingExtraError

#: What the engines of this check are built for. They are thrown away.
BUILD_SIZES = SizeRange(Size(64, 64), Size(512, 768), Size(1024, 1024))
BUILD_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class BuildCheck:
    """Engines built from every entropy graph and not run: not a proof that they compute the same.

    Attributes:
        name: of the target.
        provider: the builder and its version.
        graphs: how many were built.
        bytes: of all engines together.
        seconds: of all builds together.
        problem: why there are none, or why one could not be built; empty where all were.
        failed: whether the builder refused a graph (a target that is not installed has only not been tried).
    """

    name: str
    provider: str
    graphs: int = 0
    bytes: int = 0
    seconds: float = 0.0
    problem: str = ""
    failed: bool = False


def build_engines(files: EntropyFiles, target: Target) -> BuildCheck:
    """Parse and build every entropy graph for a target."""
    try:
        provider = f"{target.name} {target.version()}"
    except MissingExtraError as error:
        return BuildCheck(target.name, target.name, problem=error.message)
    size, seconds, count = 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, model in files.models.items():
            try:
                engine = engine_from_onnx(
                    onnx_graph(name, "entropy", model),
                    target,
                    BUILD_SIZES,
                    Path(folder),
                    audit=None,
                    allow_partial=False,
                    devices=(),
                    timeout_s=BUILD_TIMEOUT_S,
                )
            except ExportError as error:
                return BuildCheck(target.name, provider, count, size, seconds, f"{name}: {error.got}", failed=True)
            size, seconds, count = size + len(engine.data), seconds + engine.seconds, count + 1
    return BuildCheck(target.name, provider, count, size, seconds)


def engine_configuration(target: str) -> Configuration:
    """The engines that a bundle brings for ``tensorrt`` or ``tensorrt-rtx``, run by the runtime's own backend."""
    return Configuration(f"{target} engines", lambda files: open_engines(files, target))


def open_engines(files: EntropyFiles, target: str) -> OpenedGraphs:
    """Load the engines of the entropy graphs.

    Raises:
        BackendNotAvailableError: the bundle has none, or the library or the device is missing.
        EngineError: an engine does not load here.
    """
    bundle = files.bundle
    if bundle is None or any(bundle.engine(name, target) is None for name in files.models):
        raise BackendNotAvailableError(
            f"the bundle has no {target} engines of its entropy graphs", hint=f"ptp-export --target {target}"
        )
    backend = open_backend(target, None)
    graphs: dict[str, Graph] = {name: backend.load(bundle, bundle.manifest.graph(name)) for name in files.models}
    return OpenedGraphs(backend.provider, ("engines", target, backend.provider), graphs)
