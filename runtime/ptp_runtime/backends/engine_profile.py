"""An engine inside its optimisation profile, and another graph for the sizes outside of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from ptp_runtime.backends.protocol import Arrays, Graph
from ptp_runtime.manifest import EngineEntry

_log = logging.getLogger(__name__)


class ProfiledGraph:
    """Runs an engine on the shapes that it was built for, and a stand-in on all others.

    The stand-in is loaded when it is first needed. Both are the same graph, so that a stream does not depend on which
    of them ran.

    Args:
        engine: the loaded engine.
        entry: with its profile; an input that the profile does not list may have any shape.
        stand_in: loads the graph elsewhere.

    Attributes:
        engine: the loaded engine.
    """

    def __init__(self, engine: Graph, entry: EngineEntry, stand_in: Callable[[], Graph]) -> None:
        self.engine = engine
        self._entry = entry
        self._load = stand_in
        self._stand_in: Graph | None = None
        self._lock = threading.Lock()

    @property
    def provider(self) -> str:
        """The engine's."""
        return self.engine.provider

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.protocol.Graph`."""
        outside = self._outside(inputs)
        return (self._other(outside) if outside else self.engine).run(inputs)

    def _outside(self, inputs: Arrays) -> str:
        """The first input whose shape the engine does not take, as a clause; empty where there is none."""
        for name, shapes in self._entry.profile.items():
            if name not in inputs:
                continue
            shape = inputs[name].shape
            fits = len(shape) == len(shapes.minimum) and all(
                low <= length <= high for low, length, high in zip(shapes.minimum, shape, shapes.maximum, strict=True)
            )
            if not fits:
                return f"{name} {_dims(shape)} is outside {_dims(shapes.minimum)} to {_dims(shapes.maximum)}"
        return ""

    def _other(self, outside: str) -> Graph:
        with self._lock:
            if self._stand_in is None:
                self._stand_in = self._load()
                _log.warning(
                    "the engine %s was not built for this size (%s): %s runs it, with the same streams",
                    self._entry.file,
                    outside,
                    self._stand_in.provider,
                )
            return self._stand_in

    def close(self) -> None:
        """Free both."""
        self.engine.close()
        if self._stand_in is not None:
            self._stand_in.close()


def _dims(shape: tuple[int, ...]) -> str:
    return "×".join(str(length) for length in shape)
