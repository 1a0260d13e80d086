"""Which of a session's graphs can run from device memory to device memory, whatever stands around them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from ptp_runtime.backends.engine_profile import ProfiledGraph
from ptp_runtime.backends.fallback_graph import FallbackGraph
from ptp_runtime.backends.prompted_graph import PromptedGraph
from ptp_runtime.backends.protocol import Arrays, DeviceArrays, DeviceGraph, DeviceTensor, Graph


class PromptedDeviceGraph:
    """A graph on the device with the prompt of one task.

    Args:
        graph: the graph.
        prompt: input name → tensor.
    """

    def __init__(self, graph: DeviceGraph, prompt: Arrays) -> None:
        self._graph, self._prompt = graph, prompt

    def held(self) -> AbstractContextManager[None]:
        """See :class:`~ptp_runtime.backends.protocol.DeviceGraph`."""
        return self._graph.held()

    def run_on_device(self, inputs: DeviceArrays) -> dict[str, DeviceTensor]:
        """See :class:`~ptp_runtime.backends.protocol.DeviceGraph`."""
        return self._graph.run_on_device({**inputs, **self._prompt})


def on_device(graph: Graph) -> DeviceGraph | None:
    """The engine behind a graph: inside its profile, and without a stand-in for when it fails."""
    while isinstance(graph, ProfiledGraph | FallbackGraph):
        graph = graph.engine if isinstance(graph, ProfiledGraph) else graph.graph
    if isinstance(graph, PromptedGraph):
        shared = on_device(graph.shared)
        return None if shared is None else PromptedDeviceGraph(shared, graph.prompt)
    return graph if isinstance(graph, DeviceGraph) else None


def all_on_device(graphs: Mapping[str, Graph]) -> dict[str, DeviceGraph] | None:
    """All graphs of a bundle by name, or None where one of them runs elsewhere."""
    found = {name: on_device(graph) for name, graph in graphs.items()}
    ready = {name: graph for name, graph in found.items() if graph is not None}
    return ready if len(ready) == len(found) else None
