"""The graphs that give each symbol its probability, driven the same way by the encoder and the decoder.

``hyper`` turns the decoded hyper-latent into the hyper parameters. Then, step by step in the manifest's schedule,
``step_k`` gives for a part of the latent the index of each symbol's frequency table and its mean, from the hyper
parameters, from what has been decoded before, and from tensors that earlier steps left for it. Nothing here knows which
side it serves: a difference between the two would desynchronise the stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends import Graph
from ptp_runtime.coder import Parity
from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import HYPER_GRAPH, GraphEntry, Manifest, ScheduleEntry

MEAN_UNIT = 16
"""Means and decoded latents are integers in units of 1/16."""

SYMBOL_LIMIT = 32767
"""Largest magnitude of a coded symbol: what an int16 holds on both sides of 0."""

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Where in the latent [M, rows, columns] one step codes.

    Attributes:
        channels: of the step.
        rows: of the region's box.
        columns: of the region's box.
        parity: which positions of the box: all, or those whose row + column is even or odd.
    """

    channels: slice
    rows: slice
    columns: slice
    parity: Parity

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Index of the box in an array [M, rows, columns]."""
        return self.channels, self.rows, self.columns

    def coded(self, array: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Mask of the coded positions, of the shape of a box's array [g, rows, columns] or broadcast to it."""
        if self.parity is Parity.ALL:
            return np.ones((1, 1, 1), bool)
        odd = (np.arange(array.shape[1])[:, None] + np.arange(array.shape[2])[None, :]) & 1
        mask: npt.NDArray[np.bool_] = (odd == (self.parity is Parity.ODD))[None]
        return mask


def place_of(step: ScheduleEntry, rows: int, columns: int) -> Place:
    """The place of a step in a latent of rows × columns (multiples of 4)."""
    channels = slice(*step.channels)
    top, bottom = slice(0, rows // 2), slice(rows // 2, rows)
    left, right = slice(0, columns // 2), slice(columns // 2, columns)
    quadrants = {
        "top-left": (top, left),
        "bottom-left": (bottom, left),
        "top-right": (top, right),
        "bottom-right": (bottom, right),
    }
    if step.region in quadrants:
        return Place(channels, *quadrants[step.region], Parity.ALL)
    parity = {"all": Parity.ALL, "anchor": Parity.EVEN, "nonanchor": Parity.ODD}[step.region]
    return Place(channels, slice(0, rows), slice(0, columns), parity)


def run_graph(graph: Graph, entry: GraphEntry, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Run a graph on the inputs that its manifest entry lists, out of all that is at hand.

    Raises:
        EngineError: the graph wants an input that does not exist at this point, failed, or misses an output.
    """
    missing = [tensor.name for tensor in entry.inputs if tensor.name not in tensors]
    if missing:
        raise EngineError(
            f"the graph {entry.name!r} wants an input that does not exist",
            expected=", ".join(tensors),
            got=", ".join(missing),
            hint="export the bundle again",
        )
    outputs = graph.run({tensor.name: tensors[tensor.name] for tensor in entry.inputs})
    lost = [tensor.name for tensor in entry.outputs if tensor.name not in outputs]
    if lost:
        raise EngineError(f"the graph {entry.name!r} gave no output {lost[0]!r}", got=", ".join(outputs) or "nothing")
    return outputs


def require_shape(what: str, array: npt.NDArray[Any], shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Raise :class:`EngineError` unless a graph's output has the shape and dtype of the contract."""
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise EngineError(
            f"{what} has another shape or dtype",
            expected=f"{np.dtype(dtype)} {shape}",
            got=f"{array.dtype} {array.shape}",
            hint="export the bundle again",
        )


def require_finite(what: str, array: npt.NDArray[Any]) -> None:
    """Raise :class:`EngineError` if a graph overflowed: a NaN would turn into any symbol at all."""
    if not np.isfinite(array).all():
        raise EngineError(
            f"{what} is not finite",
            expected="finite numbers",
            got=f"{int(np.count_nonzero(~np.isfinite(array)))} infinities or NaN",
            hint="an FP16 graph overflowed: export without --fp16, or choose another backend",
        )


def carried_tensors(manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    """For each step of the schedule, its outputs that a later step reads, in the order of the manifest."""
    steps = [manifest.graph(step.graph) for step in manifest.entropy.schedule]
    read = [{tensor.name for tensor in entry.inputs} for entry in steps]
    later: set[str] = set()
    carried: list[tuple[str, ...]] = []
    for entry, inputs in zip(reversed(steps), reversed(read), strict=True):
        carried.append(tuple(tensor.name for tensor in entry.outputs if tensor.name in later))
        later |= inputs
    return tuple(reversed(carried))


def write_decoded(decoded: Float, symbols: npt.NDArray[np.int32], mean: npt.NDArray[np.int16], place: Place) -> None:
    """Put symbol·16 + mean at the coded positions of a step's box in ``decoded`` [M, rows, columns].

    Both sides call this. The largest magnitude is below 2^20, so float32 holds it exactly.
    """
    values = symbols * np.int32(MEAN_UNIT) + mean
    np.copyto(decoded[place.box], values, where=place.coded(values), casting="unsafe")


def means_witness(mean: npt.NDArray[np.int16], place: Place) -> int:
    """What a stream that seals its means keeps of a step's: CRC-32 of those at the step's positions, C order.

    Args:
        mean: int16 [g, rows, columns] over the box.
        place: the step's; positions of the other parity are computed and never used, so they may be anything.
    """
    if place.parity is Parity.ALL:
        return zlib.crc32(np.ascontiguousarray(mean, "<i2").tobytes())
    # Every row has half its columns, in turn the even and the odd ones; a box has even sides.
    first = 1 if place.parity is Parity.ODD else 0
    values = np.empty((*mean.shape[:2], mean.shape[2] // 2), "<i2")
    values[:, 0::2] = mean[:, 0::2, first::2]
    values[:, 1::2] = mean[:, 1::2, 1 - first :: 2]
    return zlib.crc32(values.tobytes())


@dataclass(frozen=True)
class StepOutputs:
    """What the graph of a step gives.

    Attributes:
        index: uint8 [g, rows, columns] over the step's box, which frequency table.
        mean: int16, likewise, units of 1/16.
        further: what later steps read of it, by name.
    """

    index: npt.NDArray[np.uint8]
    mean: npt.NDArray[np.int16]
    further: dict[str, npt.NDArray[Any]]


class EntropyPath:
    """The loaded entropy graphs of a bundle.

    Args:
        manifest: of the bundle.
        graphs: loaded, by name.
        table_count: number of frequency tables that an index may name.
    """

    def __init__(self, manifest: Manifest, graphs: Mapping[str, Graph], table_count: int) -> None:
        self._graphs = graphs
        self._hyper = manifest.graph(HYPER_GRAPH)
        self._steps = [manifest.graph(step.graph) for step in manifest.entropy.schedule]
        self._schedule = manifest.entropy.schedule
        self._table_count = table_count
        self._carried = carried_tensors(manifest)
        self._last_reader = {tensor.name: number for number, entry in enumerate(self._steps) for tensor in entry.inputs}
        synthesis = [graph for graph in manifest.graphs if graph.role == "synthesis"]
        self._synthesis = {tensor.name for graph in synthesis for tensor in graph.inputs}

    def places(self, rows: int, columns: int) -> tuple[Place, ...]:
        """Where each step codes in a latent of rows × columns, in the order of the schedule."""
        return tuple(place_of(step, rows, columns) for step in self._schedule)

    def hyper(self, symbols: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The hyper parameters by name, from the integer hyper-latent [Z, rows, columns]."""
        z_hat = np.ascontiguousarray(symbols[None], np.float32)
        return run_graph(self._graphs[self._hyper.name], self._hyper, {"z_hat": z_hat})

    def hand_on(
        self, number: int, tensors: Mapping[str, npt.NDArray[Any]], outputs: StepOutputs
    ) -> dict[str, npt.NDArray[Any]]:
        """What the steps behind step ``number`` and the synthesis still read: the rest can be freed."""
        return {
            name: array
            for name, array in {**tensors, **outputs.further}.items()
            if name in self._synthesis or self._last_reader.get(name, -1) > number
        }

    def graph_name(self, step: int) -> str:
        """The graph behind a step of the stream: 0 is the hyper-latent, which needs none."""
        return self._steps[step - 1].name if 0 < step <= len(self._steps) else ""

    def step(self, number: int, place: Place, tensors: Mapping[str, npt.NDArray[Any]], latent: Float) -> StepOutputs:
        """What one step needs to be coded, and what it leaves for later steps.

        Args:
            number: of the step, from 0.
            place: its place.
            tensors: from :meth:`hyper`, and the further outputs of the steps before.
            latent: float32 [1, M, rows, columns], decoded integers in units of 1/16, 0 where not yet decoded.

        Raises:
            EngineError: the graph failed, or gave what the contract excludes.
        """
        entry = self._steps[number]
        outputs = run_graph(self._graphs[entry.name], entry, {**tensors, "y_int": latent})
        index, mean = outputs["index"], outputs["mean"]
        shape = (1, *latent[0][place.box].shape)
        require_shape(f"the index of {entry.name!r}", index, shape, np.uint8)
        require_shape(f"the mean of {entry.name!r}", mean, shape, np.int16)
        if index.max() >= self._table_count:
            raise EngineError(
                f"the graph {entry.name!r} names a frequency table that does not exist",
                expected=f"indices below {self._table_count}",
                got=str(int(index.max())),
                hint="export the bundle again",
            )
        further = {name: outputs[name] for name in self._carried[number]}
        return StepOutputs(index[0], mean[0], further)
