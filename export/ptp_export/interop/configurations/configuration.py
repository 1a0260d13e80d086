"""One way to compute the entropy graphs: a library, a device and settings. What all of them have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ptp_export.interop.layer_names import layer_names
from ptp_export.stored_model import stored_model
from ptp_runtime.backends import Graph
from ptp_runtime.bundle import Bundle
from ptp_runtime.manifest import HYPER_GRAPH

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class EntropyFiles:
    """The entropy graphs of one bundle.

    Attributes:
        models: by name, in coding order: ``hyper``, then the steps.
        bundle: they come from; None where they were made otherwise.
    """

    models: Mapping[str, onnx.ModelProto]
    bundle: Bundle | None = None

    @classmethod
    def of(cls, bundle: Bundle) -> EntropyFiles:
        """Read them from a bundle.

        Raises:
            BundleError: a file was altered since the bundle was opened.
        """
        manifest = bundle.manifest
        names = (HYPER_GRAPH, *(step.graph for step in manifest.entropy.schedule))
        return cls({name: stored_model(bundle, manifest.graph(name)) for name in names}, bundle)


class Opened(Protocol):
    """The entropy graphs as one configuration runs them."""

    @property
    def provider(self) -> str:
        """What really runs them, asked of the library after loading."""

    @property
    def identity(self) -> tuple[object, ...]:
        """All that decides how numbers are computed; two configurations with the same one count once."""

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """By name."""

    def close(self) -> None:
        """Free what is held outside Python."""


@dataclass(frozen=True)
class OpenedGraphs:
    """The usual :class:`Opened`: graphs of one library in this process."""

    provider: str
    identity: tuple[object, ...]
    graphs: Mapping[str, Graph]

    def close(self) -> None:
        """See :class:`Opened`."""
        for graph in self.graphs.values():
            graph.close()


@dataclass(frozen=True)
class Configuration:
    """A way to compute the entropy graphs, not opened yet.

    Attributes:
        name: for people and for the table; unique among those compared.
        open: loads the graphs. Raises BackendNotAvailableError (with the reason) where this machine lacks something,
            EngineError where the library refuses a graph.
        largest_item: symbols of the largest item that it is asked to code; None: any. For the slow ones.
        integer_only: cannot compute a float path.
    """

    name: str
    open: Callable[[EntropyFiles], Opened] = field(compare=False)
    largest_item: int | None = None
    integer_only: bool = False


class WithCompanion:
    """A graph that computes each sample beside another one, in a batch of two.

    The other one is the last different sample of the same size that this graph was given: another photo's, as soon as
    there was one; until then this sample turned by half a turn. The two places in the batch alternate.

    Args:
        graph: takes batches of two.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._last: dict[object, dict[str, NDArray[Any]]] = {}
        self._other: dict[object, dict[str, NDArray[Any]]] = {}
        self._row = 0

    @property
    def provider(self) -> str:
        """See :class:`~ptp_runtime.backends.Graph`."""
        return self._graph.provider

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.Graph`."""
        other = self._companion(inputs)
        row = self._row
        pairs = {name: (array, other[name])[:: 1 - 2 * row] for name, array in inputs.items()}
        outputs = self._graph.run({name: np.concatenate(pair) for name, pair in pairs.items()})
        self._row = 1 - row
        return {name: np.ascontiguousarray(array[row : row + 1]) for name, array in outputs.items()}

    def _companion(self, inputs: Arrays) -> Arrays:
        size = tuple(array.shape for array in inputs.values())
        last = self._last.get(size)
        if last is None or any((array != last[name]).any() for name, array in inputs.items()):
            if last is not None:
                self._other[size] = last
            # Copied: the driver goes on writing into its latent.
            self._last[size] = {name: array.copy() for name, array in inputs.items()}
        turned = {name: array[:, :, ::-1, ::-1] for name, array in inputs.items()}
        other: Arrays = self._other.get(size, turned)
        return other

    def close(self) -> None:
        """See :class:`~ptp_runtime.backends.Graph`."""
        self._graph.close()


def with_free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose declared shapes leave the batch open: the files of a bundle declare a batch of one."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in (*copy.graph.input, *copy.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].Clear()
            dims[0].dim_param = "batch"
    return copy


def with_layers_shown(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that also gives each layer's tensor as an output."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name for value in copy.graph.output}
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in layer_names(model) if name not in known
    )
    return copy
