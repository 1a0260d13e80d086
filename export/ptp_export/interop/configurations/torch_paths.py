"""PyTorch as a backend of the entropy graphs: eager, channels-last, compiled; on the CPU and on CUDA."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._dynamo import config as dynamo_config

from ptp_export.interop.configurations.configuration import (
    Arrays,
    Configuration,
    EntropyFiles,
    OpenedGraphs,
    WithCompanion,
)
from ptp_export.interop.torch_graphs import Operator, TorchGraph
from ptp_runtime.backends import Graph
from ptp_runtime.errors import BackendNotAvailableError, EngineError


@dataclass(frozen=True)
class TorchSettings:
    """How torch runs the graphs.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: inside one operator, on the CPU.
        channels_last: layout of weights and activations.
        compiled: by TorchInductor, with sizes left open.
        batch: 1, or 2 (see :class:`~ptp_export.interop.configurations.configuration.WithCompanion`).
        tf32: let CUDA round FP32 operands to 11 bits.
        autotune: let cuDNN try its algorithms and take the fastest.
    """

    device: str = "cpu"
    threads: int = 2
    channels_last: bool = False
    compiled: bool = False
    batch: int = 1
    tf32: bool = False
    autotune: bool = False


def torch_configuration(name: str, settings: TorchSettings) -> Configuration:
    """A configuration of torch."""
    return Configuration(name, lambda files: open_torch(files, settings))


def open_torch(
    files: EntropyFiles, settings: TorchSettings, operators: Mapping[str, Operator] = MappingProxyType({})
) -> OpenedGraphs:
    """Load the graphs.

    Args:
        files: the entropy graphs.
        settings: how to run them.
        operators: instead of the usual ones (see :class:`~ptp_export.interop.torch_graphs.TorchGraph`).

    Raises:
        BackendNotAvailableError: no CUDA device, or no compiler for what TorchInductor writes.
        EngineError: an operator that the interpreter does not know.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise BackendNotAvailableError("no CUDA device for PyTorch", hint="run this on a machine with one")
    if settings.compiled and settings.device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise BackendNotAvailableError("no C++ compiler for torch.compile", hint="install g++")
    modules = {name: TorchGraph(model, operators) for name, model in files.models.items()}
    graphs: dict[str, Graph] = {name: _TorchRun(name, module, settings) for name, module in modules.items()}
    if settings.batch == 2:
        graphs = {name: WithCompanion(graph) for name, graph in graphs.items()}
    identity = ("torch", torch.__version__, _hardware(settings), settings, *operators.values())
    return OpenedGraphs(_provider(settings), identity, graphs)


def _hardware(settings: TorchSettings) -> str:
    if settings.device == "cuda":
        return str(torch.cuda.get_device_name())
    return f"CPU {torch.backends.cpu.get_cpu_capability()}"


def _provider(settings: TorchSettings) -> str:
    kind = "TorchInductor" if settings.compiled else "eager"
    return f"PyTorch {torch.__version__} {kind}, {_hardware(settings)}"


class _TorchRun:
    """One graph as the runtime drives it (:class:`~ptp_runtime.backends.Graph`)."""

    def __init__(self, name: str, module: TorchGraph, settings: TorchSettings) -> None:
        self._name, self._module, self._settings = name, module, settings
        module.to(settings.device)
        if settings.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward: Callable[..., Sequence[Tensor]] = module
        if settings.compiled:
            self._forward = torch.compile(module, dynamic=True, fullgraph=True)

    @property
    def provider(self) -> str:
        """See the protocol."""
        return _provider(self._settings)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See the protocol."""
        try:
            with _switches(self._settings), _every_graph_compiled(), torch.no_grad():
                outputs = self._forward(*(self._tensor(inputs[name]) for name in self._module.input_names))
                arrays = [np.ascontiguousarray(output.cpu().numpy()) for output in outputs]
        except RuntimeError as error:
            raise EngineError(
                f"torch failed on the graph {self._name!r}", got=str(error).strip().partition("\n")[0][:300]
            ) from error
        return dict(zip(self._module.output_names, arrays, strict=True))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._settings.device)
        if self._settings.channels_last:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def close(self) -> None:
        """See the protocol."""
        del self._forward, self._module


def _every_graph_compiled() -> AbstractContextManager[object]:
    """All graphs share one ``forward``, and TorchDynamo gives up on a function that it has compiled eight times."""
    patch: AbstractContextManager[object] = dynamo_config.patch(recompile_limit=1024, accumulated_recompile_limit=4096)
    return patch


@contextmanager
def _switches(settings: TorchSettings) -> Iterator[None]:
    """Torch's settings are the process's: set around each run, put back behind it."""
    threads = torch.get_num_threads()
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)
    if settings.device == "cpu" and settings.threads != threads:
        torch.set_num_threads(settings.threads)
    if settings.device == "cuda":
        matmul.allow_tf32 = cudnn.allow_tf32 = settings.tf32
        cudnn.benchmark = settings.autotune
    try:
        yield
    finally:
        if settings.device == "cpu" and settings.threads != threads:
            torch.set_num_threads(threads)
        if settings.device == "cuda":
            matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
