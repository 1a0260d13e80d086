"""What every backend offers: graphs that take and give named numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import GraphEntry

Arrays = Mapping[str, npt.NDArray[Any]]


class Graph(Protocol):
    """One loaded graph. ``run`` may be called from several threads."""

    @property
    def provider(self) -> str:
        """What really executes it, such as ``CPUExecutionProvider`` or ``TensorRT 10.13``."""

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name.

        Args:
            inputs: the manifest's inputs of this graph, by name, with its dtypes.

        Raises:
            EngineError: the library refused or failed.
        """

    def close(self) -> None:
        """Free what is held outside Python; the graph cannot run afterwards."""


@dataclass(frozen=True)
class DeviceTensor:
    """An array in a device's memory, C-contiguous.

    Attributes:
        address: of its first element.
        shape: lengths of its axes.
        dtype: of its elements.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


DeviceArrays = Mapping[str, DeviceTensor | npt.NDArray[Any]]


@runtime_checkable
class DeviceGraph(Protocol):
    """A loaded graph that also runs from device memory to device memory, without the host waiting for it."""

    def held(self) -> AbstractContextManager[None]:
        """While the block runs, nobody else runs this graph, so that its outputs stay what they are."""

    def run_on_device(self, inputs: DeviceArrays) -> dict[str, DeviceTensor]:
        """Put a run behind the work that is under way on the device's stream; only inside :meth:`held`.

        Args:
            inputs: by name; small ones may come from the host.

        Returns:
            outputs by name, in memory of this graph: valid until its next run.

        Raises:
            EngineError: as :meth:`Graph.run`, without waiting for the run itself.
        """


class Backend(Protocol):
    """A way to execute graphs on this machine."""

    @property
    def name(self) -> str:
        """As in ``Session.open(backend=...)``: ``cpu``, ``cuda``, ``tensorrt`` …"""

    @property
    def provider(self) -> str:
        """The library and what it runs on, for people."""

    @property
    def arithmetic(self) -> Arithmetic:
        """What its floating-point results depend on."""

    def load(self, bundle: Bundle, graph: GraphEntry) -> Graph:
        """Load one graph of a bundle.

        Raises:
            EngineError: it cannot be loaded here.
            BundleError: its file changed since the bundle was opened.
        """


@runtime_checkable
class LayerBackend(Protocol):
    """A backend that can also show what happens inside a graph."""

    def load_layers(self, bundle: Bundle, graph: GraphEntry, layers: Sequence[str]) -> Graph:
        """The graph with inner tensors as further outputs; errors as :meth:`Backend.load`.

        Args:
            bundle, graph: see :meth:`Backend.load`.
            layers: names of tensors inside the graph that are not among its outputs.
        """


@dataclass(frozen=True)
class LayerTime:
    """What one layer of a graph takes.

    Attributes:
        name: of the layer as the backend executes it, which may be several of the file's layers in one.
        operator: what it computes, such as ``Conv``.
        milliseconds: of one run of the graph, on average.
    """

    name: str
    operator: str
    milliseconds: float


@runtime_checkable
class TimingBackend(Protocol):
    """A backend that can also say how long the layers of a graph take."""

    def layer_times(self, bundle: Bundle, graph: GraphEntry, inputs: Arrays, runs: int) -> Sequence[LayerTime]:
        """Load a graph once more, run it on these inputs under the backend's own profiler, and sum by layer.

        Args:
            bundle, graph: see :meth:`Backend.load`.
            inputs: see :meth:`Graph.run`.
            runs: how many, after one that warms up.

        Raises:
            EngineError: the graph failed, or the profiler gave nothing that can be read.
        """


@dataclass(frozen=True)
class BackendChoice:
    """The backend that a session uses, and why.

    Attributes:
        backend: for analysis, synthesis and head.
        entropy: for the entropy path; see ``docs/bundle-format.md`` on why it can be another one.
        reason: a sentence.
    """

    backend: Backend
    entropy: Backend
    reason: str
