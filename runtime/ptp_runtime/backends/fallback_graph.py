"""A graph that goes on elsewhere when its backend fails in the middle of the work, as when a device is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy.typing as npt

from ptp_runtime.backends.prompted_graph import PromptedGraph, bare_entry, prompt_of
from ptp_runtime.backends.protocol import Arrays, Backend, Graph
from ptp_runtime.backends.selection import LoadedGraphs, open_backend
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import EngineError, UsageError
from ptp_runtime.manifest import GraphEntry

ON_FAILURE = ("auto", "raise", "cpu")
"""What ``Session.open(on_failure=...)`` takes."""

FAILURES = 3
"""So many times in a row a graph may fail before it is given up."""

_log = logging.getLogger(__name__)


class FallbackGraph:
    """Runs a graph; where it fails, a stand-in runs the same inputs.

    The graph is tried again with the next inputs, because one photo may have been too much for a device that is fine;
    after :data:`FAILURES` in a row it is given up. Inputs at which the stand-in fails as well do not count: they are at
    fault, not the backend.

    Args:
        graph: the loaded graph.
        name: of it, for the log.
        stand_in: loads the same graph elsewhere.

    Attributes:
        graph: the loaded graph.
    """

    def __init__(self, graph: Graph, name: str, stand_in: Callable[[], Graph]) -> None:
        self.graph = graph
        self._name = name
        self._load = stand_in
        self._stand_in: Graph | None = None
        self._failures = 0
        self._lock = threading.Lock()

    @property
    def provider(self) -> str:
        """What is asked first."""
        if self._failures >= FAILURES and self._stand_in is not None:
            return self._stand_in.provider
        return self.graph.provider

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.protocol.Graph`."""
        if self._failures >= FAILURES:
            return self._other().run(inputs)
        try:
            outputs = self.graph.run(inputs)
        except EngineError as failure:
            outputs = self._other().run(inputs)
            self._count(failure)
        else:
            self._failures = 0
        return outputs

    def close(self) -> None:
        """Free both."""
        self.graph.close()
        if self._stand_in is not None:
            self._stand_in.close()

    def _other(self) -> Graph:
        with self._lock:
            if self._stand_in is None:
                self._stand_in = self._load()
            return self._stand_in

    def _count(self, failure: EngineError) -> None:
        with self._lock:
            self._failures += 1
            count = self._failures
        if count <= FAILURES:
            then = "from here on" if count == FAILURES else f"this time ({count} in a row)"
            _log.warning("%s; %s %s runs the graph %s", failure, then, self._other().provider, self._name)


def with_fallback(
    bundle: Bundle, loaded: LoadedGraphs, backend: str | Backend, threads: int | None, on_failure: str | Backend
) -> LoadedGraphs:
    """The same graphs, those beside the CPU's each with a stand-in.

    Args:
        bundle: whose graphs they are.
        loaded: all graphs.
        backend: as the caller asked for it.
        threads: of the stand-ins.
        on_failure: ``raise`` the error; go on on the ``cpu``; ``auto``: the latter where the backend was not asked for
            by name; or a backend for the stand-ins. A float entropy path never changes its backend: its bits would.

    Raises:
        UsageError: no such policy.
    """
    if isinstance(on_failure, str) and on_failure not in ON_FAILURE:
        raise UsageError(
            "there is no such way to treat a failure", expected=", ".join(ON_FAILURE), got=repr(on_failure)
        )
    if on_failure == "raise" or (on_failure == "auto" and backend != "auto"):
        return loaded
    graphs: dict[str, Graph] = {}
    for entry in bundle.manifest.graphs:
        graph = graphs[entry.name] = loaded.by_name[entry.name]
        runs_on = loaded.choice.entropy if entry.role == "entropy" else loaded.choice.backend
        bare = graph.shared if isinstance(graph, PromptedGraph) else graph
        is_float = entry.role == "entropy" and bundle.manifest.entropy.mode == "float"
        if runs_on.name == "cpu" or is_float or isinstance(bare, FallbackGraph):
            continue
        wanted = bare_entry(entry, prompt_of(bundle, entry))
        other = FallbackGraph(bare, entry.name, partial(_stand_in, bundle, wanted, on_failure, threads))
        if isinstance(graph, PromptedGraph):
            graph.shared = other
        else:
            graphs[entry.name] = other
    return LoadedGraphs(graphs, loaded.choice)


def _stand_in(bundle: Bundle, graph: GraphEntry, on_failure: str | Backend, threads: int | None) -> Graph:
    backend = open_backend("cpu", threads) if isinstance(on_failure, str) else on_failure
    return backend.load(bundle, graph)
