"""What every backend offers: graphs that take and give named numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

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


class Backend(Protocol):
    """A way to execute graphs on this machine."""

    @property
    def name(self) -> str:
        """``cpu``, ``cuda``, ``tensorrt`` or ``tensorrt-rtx``."""

    @property
    def provider(self) -> str:
        """The library and what it runs on, for people."""

    def load(self, bundle: Bundle, graph: GraphEntry) -> Graph:
        """Load one graph of a bundle.

        Raises:
            EngineError: it cannot be loaded here.
            BundleError: its file changed since the bundle was opened.
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
