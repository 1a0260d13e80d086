"""A stream's whole decoding on one GPU: engines and coder take turns on one stream of work.

Between the bytes and the head's outputs nothing returns to the host: what an engine leaves in device memory is what the
coder's kernels read, and the other way round. The host reads the header, puts the work on the stream, and compares the
end of the stream with what its encoder left there. The symbols are those of :mod:`ptp_runtime.decoder`, the outputs
those of the engines run one by one.

Unseen on a GPU so far: tested with the kernels' source on the CPU.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends import DeviceArrays, DeviceGraph, DeviceTensor, LoadedGraphs
from ptp_runtime.backends.device_graphs import all_on_device
from ptp_runtime.backends.engine_backend import EngineBackend
from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import Parity
from ptp_runtime.coder_gpu import WARP, BatchDecoder, CudaDevice, DeviceTables, GpuDevice, Handle, blocks_for
from ptp_runtime.decoder import graph_named
from ptp_runtime.entropy_path import EntropyPath, Place, carried_tensors
from ptp_runtime.errors import BackendNotAvailableError, EngineError
from ptp_runtime.manifest import HYPER_GRAPH, GraphEntry, Manifest
from ptp_runtime.stopwatch import Stopwatch, is_observed
from ptp_runtime.tables import Tables

_FLOAT = np.dtype(np.float32)
_MEANS = (np.dtype(np.int16), np.dtype(np.int32))
"""Engines have no 16-bit integers everywhere: the same values may come in 32."""


class DeviceDecoder:
    """The engines of a bundle and the coder on one device. Threads that use it wait for each other.

    Args:
        manifest: of the bundle.
        graphs: its graphs on the device, by name.
        path: knows the schedule.
        tables: of the bundle.
        device: the one whose stream of work the graphs use.
    """

    _turn = threading.Lock()
    """Of the process: two decodings that each hold some of the graphs that both want would wait for ever."""

    def __init__(
        self,
        manifest: Manifest,
        graphs: Mapping[str, DeviceGraph],
        path: EntropyPath,
        tables: Tables,
        device: GpuDevice,
    ) -> None:
        self._manifest, self._path, self._device = manifest, path, device
        self._tables = DeviceTables(device, tables)
        self._graphs = dict(graphs)
        self._steps = [manifest.graph(step.graph) for step in manifest.entropy.schedule]
        self._carried = carried_tensors(manifest)
        self._size = (0, 0)

    def decode(
        self,
        data: bytes,
        header: StreamHeader,
        latent: tuple[int, int, int],
        feature: tuple[int, int],
        gain: Mapping[str, npt.NDArray[np.float32]],
        watch: Stopwatch,
        hint: Callable[[], str] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """The head's outputs by name.

        Args:
            data: the stream; its header was checked.
            header: of it.
            latent: channels, rows and columns of y; the latter are multiples of 4.
            feature: rows and columns of h that the head gets.
            gain: the input of that name, where the bundle has several rates.
            watch: gets the stages ``coder``, ``hyper``, ``context``, ``synthesis`` and ``head``: how long the host took
                to put their work on the stream, and, in the last, to wait for it. A profiler gets their own times,
                because then each is waited for.
            hint: as :func:`~ptp_runtime.decoder.decode_latents`.

        Raises:
            DesynchronisedError: as :func:`~ptp_runtime.decoder.decode_latents`.
            EngineError: an engine failed, does not take the size, or gives something else than its manifest says.
        """
        with self._turn, ExitStack() as held:
            for graph in self._graphs.values():
                held.enter_context(graph.held())
            # Also after a failure: whoever runs a graph next writes where its copies may still read.
            held.callback(self._device.synchronize)
            if latent[1:] != self._size:
                # What the last size took would otherwise be kept beside what this one takes.
                self._device.trim()
                self._size = (latent[1], latent[2])
            work = _Work(self._device)
            held.callback(work.close)
            with watch("coder"):
                coder = BatchDecoder(self._device, [data], self._tables)
                held.callback(coder.close)
            seal = _Seal(work, len(self._steps)) if header.seals_means else None
            tensors = self._latents(coder, work, latent, seal, watch)
            with watch("synthesis"):
                h = self._run(self._entry("synthesis"), {**tensors, **gain})["h"]
                h = _cropped(work, h, feature)
                self._settle()
            with watch("head"):
                outputs = self._run(self._entry("head"), {"h": h})
                raw = {name: _downloaded(self._device, tensor) for name, tensor in outputs.items()}
            with watch("coder"), graph_named(self._path, hint):
                coder.finish(None if seal is None else seal.witnesses())
        return raw

    def _latents(
        self, coder: BatchDecoder, work: _Work, latent: tuple[int, int, int], seal: _Seal | None, watch: Stopwatch
    ) -> dict[str, DeviceTensor | npt.NDArray[Any]]:
        """What the synthesis reads: the decoded latent and the hyper graph's outputs."""
        _, rows, columns = latent
        z_shape = (1, self._manifest.entropy.hyper_channels, rows // 4, columns // 4)
        with watch("coder"):
            z = work.owns(coder.z_step(*z_shape[2:]))
            z_hat = work.floats(z_shape)
            count = math.prod(z_shape)
            self._device.launch("ptp_widen", blocks_for(count), z, Handle(z_hat.address), np.uint32(count))
            self._settle()
        with watch("hyper"):
            tensors: dict[str, DeviceTensor | npt.NDArray[Any]] = {
                **self._run(self._manifest.graph(HYPER_GRAPH), {"z_hat": z_hat})
            }
            self._settle()
        y = work.floats((1, *latent))
        tensors["y_int"] = y
        for number, (entry, place) in enumerate(zip(self._steps, self._path.places(rows, columns), strict=True)):
            with watch("context", number):
                outputs = self._run(entry, tensors)
                index, mean = _checked(entry, outputs, latent, place)
                tensors |= {name: outputs[name] for name in self._carried[number]}
                self._settle()
            with watch("coder", number):
                self._write(coder, index, mean, y, place)
                if seal is not None:
                    seal.take(number, mean, place)
                self._settle()
        return tensors

    def _write(
        self, coder: BatchDecoder, index: DeviceTensor, mean: DeviceTensor, y: DeviceTensor, place: Place
    ) -> None:
        """Decode a step, and put what it stands for in the latent."""
        box = (index.shape[1], index.shape[2], index.shape[3])
        symbols = coder.step(Handle(index.address), place.channels.start, box, place.parity)
        wide = mean.dtype == np.int32
        numbers = (*y.shape[2:], place.rows.start, place.columns.start, place.channels.start, *box, int(place.parity))
        self._device.launch(
            "ptp_write_decoded",
            blocks_for(math.prod(box)),
            *(symbols, Handle(mean.address), np.uint32(wide), Handle(y.address)),
            *map(np.uint32, numbers),
        )
        self._device.free(symbols)

    def _entry(self, role: str) -> GraphEntry:
        return self._manifest.graph_of_role(role)

    def _run(self, entry: GraphEntry, tensors: DeviceArrays) -> dict[str, DeviceTensor]:
        return self._graphs[entry.name].run_on_device({tensor.name: tensors[tensor.name] for tensor in entry.inputs})

    def _settle(self) -> None:
        if is_observed():
            self._device.synchronize()

    def close(self) -> None:
        """Free what lies in device memory."""
        self._tables.close()
        self._device.trim()


def device_decoder_of(manifest: Manifest, graphs: LoadedGraphs, path: EntropyPath, tables: Tables) -> DeviceDecoder:
    """The decoder of a session whose engines all run on one device.

    Args:
        manifest: of the bundle.
        graphs: loaded.
        path, tables: see :class:`DeviceDecoder`.

    Raises:
        BackendNotAvailableError: a graph runs elsewhere, or the kernels' compiler is missing.
    """
    backend, ready = graphs.choice.backend, all_on_device(graphs.by_name)
    if ready is None or not isinstance(backend, EngineBackend):
        raise BackendNotAvailableError(
            "the coder cannot run on the GPU between the networks",
            expected="engines of every graph, the entropy path's too, on one NVIDIA GPU",
            got=f"{graphs.choice.backend.provider}; entropy path: {graphs.choice.entropy.provider}",
            hint="export with --target tensorrt or tensorrt-rtx, open with that backend, or use coder='cpu'",
        )
    return DeviceDecoder(manifest, ready, path, tables, CudaDevice(backend.device))


class _Work:
    """Device memory of one decoding, given back at its end."""

    def __init__(self, device: GpuDevice) -> None:
        self.device = device
        self._handles: list[Handle] = []

    def owns(self, handle: Handle) -> Handle:
        self._handles.append(handle)
        return handle

    def floats(self, shape: tuple[int, ...]) -> DeviceTensor:
        """New zeros."""
        return DeviceTensor(self.owns(self.device.zeros(4 * math.prod(shape))), shape, _FLOAT)

    def close(self) -> None:
        for handle in self._handles:
            self.device.free(handle)


class _Seal:
    """The witness of each step's means (:func:`~ptp_runtime.entropy_path.means_witness`), computed where they are."""

    def __init__(self, work: _Work, steps: int) -> None:
        self._device = work.device
        self._steps = steps
        self._partial = work.owns(work.device.zeros(4 * WARP))
        self._found = work.owns(work.device.zeros(4 * steps))

    def take(self, number: int, mean: DeviceTensor, place: Place) -> None:
        """Of step ``number``."""
        _, channels, rows, columns = mean.shape
        count = channels * rows * (columns if place.parity is Parity.ALL else columns // 2)
        ends = np.uint32(count), np.uint32(-(-count // WARP**2))
        numbers = map(np.uint32, (rows, columns, int(place.parity)))
        wide = np.uint32(mean.dtype == np.int32)
        self._device.launch("ptp_crc_of_means", WARP, Handle(mean.address), wide, self._partial, *numbers, *ends)
        self._device.launch("ptp_join_crc", 1, self._partial, Handle(self._found + 4 * number), *ends)

    def witnesses(self) -> npt.NDArray[np.uint32]:
        """[1, steps]."""
        found = np.zeros((1, self._steps), np.uint32)
        self._device.download(self._found, found)
        return found


def _checked(
    entry: GraphEntry, outputs: Mapping[str, DeviceTensor], latent: tuple[int, int, int], place: Place
) -> tuple[DeviceTensor, DeviceTensor]:
    """Index and mean of a step, of the shapes and dtypes that the kernels read."""
    lengths = (len(range(*part.indices(whole))) for part, whole in zip(place.box, latent, strict=True))
    shape = (1, *lengths)
    index, mean = outputs["index"], outputs["mean"]
    for what, tensor, dtypes in (("index", index, (np.dtype(np.uint8),)), ("mean", mean, _MEANS)):
        if tensor.shape != shape or tensor.dtype not in dtypes:
            raise EngineError(
                f"the {what} of {entry.name!r} has another shape or dtype",
                expected=f"{dtypes[0]} {shape}",
                got=f"{tensor.dtype} {tensor.shape}",
                hint="export the bundle again",
            )
    return index, mean


def _cropped(work: _Work, h: DeviceTensor, kept: tuple[int, int]) -> DeviceTensor:
    """The first rows and columns of each channel, where there are more."""
    if h.shape[2:] == kept:
        return h
    small = work.floats((*h.shape[:2], *kept))
    count = math.prod(small.shape)
    numbers = (*h.shape[2:], *kept, count)
    addresses = (Handle(h.address), Handle(small.address))
    work.device.launch("ptp_crop", blocks_for(count), *addresses, *map(np.uint32, numbers))
    return small


def _downloaded(device: GpuDevice, tensor: DeviceTensor) -> npt.NDArray[Any]:
    array = np.empty(tensor.shape, tensor.dtype)
    device.download(Handle(tensor.address), array)
    return array
