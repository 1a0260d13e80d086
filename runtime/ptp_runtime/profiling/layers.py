"""Which layers of a graph take the time, where the backend can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends import Backend, Graph
from ptp_runtime.backends.protocol import Arrays, LayerTime, TimingBackend
from ptp_runtime.bundle import Bundle
from ptp_runtime.images import Pixels
from ptp_runtime.manifest import GraphEntry
from ptp_runtime.session import Session


class _Recorded:
    """A graph that keeps copies of the inputs of its last run."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.inputs: dict[str, npt.NDArray[Any]] = {}

    @property
    def provider(self) -> str:
        return self._graph.provider

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        self.inputs = {name: np.array(array, copy=True) for name, array in inputs.items()}
        return self._graph.run(inputs)

    def close(self) -> None:
        self._graph.close()


class _Recorder:
    """A backend whose graphs are recorded."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.graphs: dict[str, _Recorded] = {}

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def provider(self) -> str:
        return self._backend.provider

    @property
    def arithmetic(self) -> Any:
        return self._backend.arithmetic

    def load(self, bundle: Bundle, graph: GraphEntry) -> _Recorded:
        self.graphs[graph.name] = _Recorded(self._backend.load(bundle, graph))
        return self.graphs[graph.name]


def layer_times(
    bundle: Bundle, backend: Backend, pixels: Pixels, rate: int | None = None, runs: int = 5
) -> dict[str, tuple[LayerTime, ...]]:
    """By graph, its layers with the most time first; empty where the backend cannot tell.

    Every graph is fed with what it gets when this photo is encoded and decoded, alone and with the backend's own
    profiler on: the sum is somewhat above what the graph takes in a session.

    Args:
        bundle: opened.
        backend: what runs its graphs.
        pixels: the photo.
        rate: see ``Session.encode``.
        runs: of each graph, after one that warms up.
    """
    if not isinstance(backend, TimingBackend):
        return {}
    found: dict[str, tuple[LayerTime, ...]] = {}
    for name, inputs in _inputs(bundle, backend, pixels, rate).items():
        layers = backend.layer_times(bundle, bundle.manifest.graph(name), inputs, runs)
        found[name] = tuple(sorted(layers, key=lambda layer: -layer.milliseconds))
    return found


def _inputs(bundle: Bundle, backend: Backend, pixels: Pixels, rate: int | None) -> Mapping[str, Arrays]:
    recorder = _Recorder(backend)
    with Session.open(bundle, backend=recorder) as session:
        session.decode(session.encode(pixels, rate=rate))
    return {name: graph.inputs for name, graph in recorder.graphs.items() if graph.inputs}
