"""A bundle with some of its graphs exchanged in memory, to see what they would do before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend, OnnxRuntimeGraph
from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import GraphEntry
from ptp_runtime.speed import available_cores


class CandidateBackend:
    """ONNX Runtime on the CPU, with the given files in the place of a bundle's.

    Args:
        files: graph name → ONNX file; inputs and outputs are those of the bundle's graph.
        kept: graphs that were loaded already, by name: those that are not exchanged are taken from here, and put here.
    """

    def __init__(self, files: Mapping[str, bytes], kept: dict[str, OnnxRuntimeGraph]) -> None:
        self._files, self._kept = files, kept
        self._threads = available_cores()
        self._plain = OnnxRuntimeBackend("cpu", self._threads)

    @property
    def name(self) -> str:
        """``cpu``."""
        return self._plain.name

    @property
    def provider(self) -> str:
        """For people."""
        return self._plain.provider

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`~ptp_runtime.backends.protocol.Backend`."""
        return self._plain.arithmetic

    def load(self, bundle: Bundle, graph: GraphEntry) -> KeptGraph | OnnxRuntimeGraph:
        """See :class:`~ptp_runtime.backends.protocol.Backend`."""
        if graph.name in self._files:
            return OnnxRuntimeGraph(self._files[graph.name], graph, "cpu", self._threads)
        if graph.name not in self._kept:
            self._kept[graph.name] = self._plain.load(bundle, graph)
        return KeptGraph(self._kept[graph.name])


class KeptGraph:
    """A loaded graph that outlives the sessions that use it."""

    def __init__(self, graph: OnnxRuntimeGraph) -> None:
        self._graph = graph
        self.provider = graph.provider
        self.run = graph.run

    def close(self) -> None:
        """Keeps it: the next session wants it, too."""
