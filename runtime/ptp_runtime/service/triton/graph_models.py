"""A backend whose graphs are models of the Triton that the caller runs in, asked by business-logic scripting (BLS)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.backends import Arrays, Backend, Graph
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import GraphEntry

Ask = Callable[[str, Arrays, tuple[str, ...]], Mapping[str, npt.NDArray[Any]]]
"""Model, inputs and names of the wanted outputs → outputs; raises EngineError."""


class GraphModels:
    """Analysis, synthesis and head are models of their own; the entropy path runs here, exactly, on the CPU.

    A model can be asked only while a request is being answered, which is when graphs run.

    Args:
        ask: asks a model.
        name_of: a graph's model.
        entropy: for the entropy path.
    """

    name = "triton"
    provider = "Triton"

    def __init__(self, ask: Ask, name_of: Callable[[GraphEntry], str], entropy: Backend) -> None:
        self._ask = ask
        self._name_of = name_of
        self._entropy = entropy

    @property
    def arithmetic(self) -> Arithmetic:
        """Of the entropy path, which is what streams depend on."""
        return self._entropy.arithmetic

    def load(self, bundle: Bundle, graph: GraphEntry) -> Graph:
        """See :class:`~ptp_runtime.backends.Backend`."""
        if graph.role == "entropy":
            return self._entropy.load(bundle, graph)
        return _GraphModel(self._ask, self._name_of(graph), tuple(one.name for one in graph.outputs))


class _GraphModel:
    provider = "Triton"

    def __init__(self, ask: Ask, name: str, outputs: tuple[str, ...]) -> None:
        self._ask = ask
        self._name = name
        self._outputs = outputs

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Ask the model."""
        found = dict(self._ask(self._name, inputs, self._outputs))
        if set(found) != set(self._outputs):
            raise EngineError(
                f"the model {self._name} gave other outputs", expected=", ".join(self._outputs), got=", ".join(found)
            )
        return found

    def close(self) -> None:
        """Triton holds the model."""
