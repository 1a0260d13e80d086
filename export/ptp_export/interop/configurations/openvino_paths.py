"""OpenVINO as a backend of the entropy graphs. The one file that imports it."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from typing import Any

import onnx
import openvino
from numpy.typing import NDArray

from ptp_export.interop.configurations.configuration import (
    Arrays,
    Configuration,
    EntropyFiles,
    OpenedGraphs,
    WithCompanion,
    with_free_batch,
)
from ptp_runtime.backends import Graph
from ptp_runtime.errors import BackendNotAvailableError, EngineError


@dataclass(frozen=True)
class OpenVinoSettings:
    """How OpenVINO runs the graphs.

    Attributes:
        threads: of the CPU plugin.
        batch: 1, or 2 (see :class:`~ptp_export.interop.configurations.configuration.WithCompanion`).
        compressed: weights stored as FP16, which is what OpenVINO's own converter does unless it is told otherwise.
            It breaks the integer path and is here so that a test can show that this is noticed.
        any_precision: let a convolution pass that the plugin does not compute in FP32. For that test alone.
    """

    threads: int = 2
    batch: int = 1
    compressed: bool = False
    any_precision: bool = False


def openvino_configuration(name: str, settings: OpenVinoSettings) -> Configuration:
    """A configuration of OpenVINO."""
    return Configuration(name, lambda files: open_openvino(files, settings))


def open_openvino(files: EntropyFiles, settings: OpenVinoSettings) -> OpenedGraphs:
    """Compile the graphs for the CPU, with FP32 arithmetic asked for and looked up again.

    Raises:
        BackendNotAvailableError: it compiled for another device, or convolutions in another precision.
        EngineError: a graph does not compile.
    """
    core = openvino.Core()
    models = files.models
    if settings.batch == 2:
        models = {name: with_free_batch(model) for name, model in models.items()}
    opened = {name: _OpenVinoRun(core, name, model, settings) for name, model in models.items()}
    kernels = tuple(sorted({kernel for graph in opened.values() for kernel in graph.kernels}))
    graphs: dict[str, Graph] = dict(opened)
    if settings.batch == 2:
        graphs = {name: WithCompanion(graph) for name, graph in graphs.items()}
    version = openvino.__version__.partition("-")[0]
    return OpenedGraphs(
        f"OpenVINO {version} CPU, {', '.join(kernels)}", ("openvino", openvino.__version__, kernels, settings), graphs
    )


class _OpenVinoRun:
    """One graph as the runtime drives it (:class:`~ptp_runtime.backends.Graph`)."""

    def __init__(self, core: openvino.Core, name: str, model: onnx.ModelProto, settings: OpenVinoSettings) -> None:
        self._name = name
        self._outputs = [value.name for value in model.graph.output]
        # Without the hint the plugin may choose BF16 where the processor has it.
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": settings.threads}
        try:
            graph = core.read_model(model.SerializeToString())
            if settings.compressed:
                graph = _compressed(core, graph)
            self._compiled = core.compile_model(graph, "CPU", hints)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile the graph {name!r}", got=_first_line(error)) from error
        devices = list(self._compiled.get_property("EXECUTION_DEVICES"))
        if devices != ["CPU"]:
            raise BackendNotAvailableError(
                f"OpenVINO compiled the graph {name!r} for another device", expected="CPU", got=", ".join(devices)
            )
        self.kernels = self._convolutions(settings.any_precision)
        self._request = self._compiled.create_infer_request()

    def _convolutions(self, any_precision: bool) -> Counter[str]:
        """The kernels that the plugin chose for the convolutions, such as ``brgconv_avx512``."""
        kernels: Counter[str] = Counter()
        for operation in self._compiled.get_runtime_model().get_ordered_ops():
            facts = operation.get_rt_info()
            if facts["layerType"].astype(str) != "Convolution":
                continue
            if not any_precision and facts["runtimePrecision"].astype(str) != "f32":
                raise BackendNotAvailableError(
                    f"OpenVINO computes a convolution of the graph {self._name!r} in another precision",
                    expected="f32",
                    got=facts["runtimePrecision"].astype(str),
                )
            kernels[facts["primitiveType"].astype(str).removesuffix("_f32")] += 1
        return kernels

    @property
    def provider(self) -> str:
        """See the protocol."""
        return "OpenVINO CPU"

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See the protocol."""
        try:
            # Copied out: the request's own memory is overwritten by the next run.
            results = self._request.infer(dict(inputs), share_inputs=False, share_outputs=False)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on the graph {self._name!r}", got=_first_line(error)) from error
        # By position: the plugin may know a tensor by several names.
        return dict(zip(self._outputs, results.to_tuple(), strict=True))

    def close(self) -> None:
        """See the protocol."""
        del self._request, self._compiled


def _compressed(core: openvino.Core, graph: openvino.Model) -> openvino.Model:
    """The model as OpenVINO's own file format brings it back."""
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(graph, f"{folder}/graph.xml", compress_to_fp16=True)
        return core.read_model(f"{folder}/graph.xml")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
