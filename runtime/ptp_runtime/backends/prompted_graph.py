"""A graph that several tasks share: what differs between them are tensors that it takes as inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from ptp_runtime.backends.protocol import Arrays, Backend, Graph
from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import FileEntry, GraphEntry, TensorInfo
from ptp_runtime.prompt_file import PROMPT_LIMIT, prompt_from_bytes


class PromptedGraph:
    """A graph with the prompt of one task.

    Args:
        shared: the graph, loaded once for all tasks.
        prompt: input name → tensor.
        owned: whether closing this closes the graph; else it lives on for the task that loaded it.

    Attributes:
        shared: the graph.
        prompt: what it gets on top of its inputs.
    """

    def __init__(self, shared: Graph, prompt: Arrays, *, owned: bool = True) -> None:
        self.shared = shared
        self._owned = owned
        self.prompt = dict(prompt)

    @property
    def provider(self) -> str:
        """The graph's."""
        return self.shared.provider

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.protocol.Graph`; the prompt comes on top of the inputs."""
        return self.shared.run({**inputs, **self.prompt})

    def close(self) -> None:
        """Free the graph, for all tasks, where it is owned."""
        if self._owned:
            self.shared.close()


def prompt_of(bundle: Bundle, graph: GraphEntry) -> Mapping[str, npt.NDArray[Any]]:
    """The tensors of a graph's prompt; none where it has no prompt.

    Raises:
        BundleError: the file is not what was exported, or no prompt.
    """
    if graph.prompt is None:
        return {}
    entry = FileEntry(graph.prompt.file, graph.prompt.sha256)
    return prompt_from_bytes(bundle.read(entry, PROMPT_LIMIT), entry.file)


def load_graph(bundle: Bundle, graph: GraphEntry, backend: Backend) -> Graph:
    """Load a graph; one with a prompt is loaded without it, so that other tasks can use it too."""
    if graph.prompt is None:
        return backend.load(bundle, graph)
    prompt = prompt_of(bundle, graph)
    return PromptedGraph(backend.load(bundle, bare_entry(graph, prompt)), prompt)


def bare_entry(graph: GraphEntry, prompt: Arrays) -> GraphEntry:
    """The graph as its own file has it: the prompt's tensors are inputs."""
    if graph.prompt is None:
        return graph
    further = tuple(TensorInfo(name, "float32", values.shape) for name, values in prompt.items())
    return replace(graph, sha256=graph.prompt.bare_sha256, inputs=(*graph.inputs, *further), prompt=None)
