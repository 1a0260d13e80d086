"""The Python face of the runtime: a bundle opened for encoding and decoding.

>>> from ptp_runtime import Session
>>> with Session.open("bundle") as session:          # doctest: +SKIP
...     data = session.encode("photo.jpg")
...     mask = session.decode(data).mask
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends import Backend, BackendChoice, LoadedGraphs, load_graphs
from ptp_runtime.bitstream import StreamHeader, identity_prefix
from ptp_runtime.bundle import Bundle
from ptp_runtime.coded_photo import coded_pixels, coded_shape
from ptp_runtime.coder import StreamDecoder, warm_up
from ptp_runtime.decoder import decode_latents
from ptp_runtime.encoder import encode_latents
from ptp_runtime.entropy_path import EntropyPath, require_finite, require_shape, run_graph
from ptp_runtime.errors import NotAStreamError, TaskNotAvailableError, UsageError, WrongModelError
from ptp_runtime.images import lead_padding, load_image, network_input, padded_size
from ptp_runtime.latents import Latents
from ptp_runtime.manifest import FileEntry, Manifest
from ptp_runtime.rate import Rate
from ptp_runtime.rate_gains import RateGains
from ptp_runtime.stopwatch import Stopwatch
from ptp_runtime.tables import Tables
from ptp_runtime.tasks import TaskOutput
from ptp_runtime.tasks.dispatch import output_from_head, prepare

LATENT_STRIDE = 16
HYPER_STRIDE = 64
"""Pixels per element of the latent and of the hyper-latent, along each side."""

Image = str | os.PathLike[str] | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Encoded:
    """What :meth:`Session.encode_detailed` gives.

    Attributes:
        data: the stream.
        rate: its size.
        latents: as the decoder will see them, with one record a step.
        tensors: ``y``, ``z`` (the analysis graph's outputs) and the hyper graph's, by name.
        milliseconds: by stage.
    """

    data: bytes
    rate: Rate
    latents: Latents
    tensors: Mapping[str, npt.NDArray[Any]]
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class Decoded:
    """What :meth:`Session.decode_detailed` gives.

    Attributes:
        output: of the task.
        rate: size of the stream.
        latents: as decoded, with one record a step.
        tensors: the hyper graph's outputs, ``h`` (cropped) and the head's outputs, by name.
        milliseconds: by stage.
    """

    output: TaskOutput
    rate: Rate
    latents: Latents
    tensors: Mapping[str, npt.NDArray[Any]]
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class Inference:
    """What :meth:`Session.infer` gives: the photo's stream, and the task's output decoded from that stream.

    Attributes:
        data: the stream.
        output: of the task.
        rate: size of the stream.
        encode_milliseconds: by stage.
        decode_milliseconds: by stage.
    """

    data: bytes
    output: TaskOutput
    rate: Rate
    encode_milliseconds: Mapping[str, float]
    decode_milliseconds: Mapping[str, float]


class Session:
    """An opened bundle. Use :meth:`open`; a session may be used from several threads.

    Attributes:
        bundle: the verified bundle.
        backend: which backend runs what, and why.
    """

    def __init__(self, bundle: Bundle, graphs: LoadedGraphs, tables: Tables, gains: RateGains | None = None) -> None:
        self.bundle = bundle
        self.backend: BackendChoice = graphs.choice
        self._graphs = graphs
        self._tables = tables
        self._gains = gains
        self._path = EntropyPath(bundle.manifest, graphs.by_name, tables.scale_count)
        self._closed = False

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str] | Bundle,
        backend: str | Backend = "auto",
        threads: int | None = None,
        task: str | None = None,
    ) -> Session:
        """Open a bundle, verify every file of it and load its graphs.

        Args:
            bundle: the directory that ``ptp-export`` wrote.
            backend: ``auto``, ``tensorrt``, ``tensorrt-rtx``, ``cuda`` or ``cpu``.
            threads: of ONNX Runtime on the CPU; None: the cores that this process may use.
            task: the task that the caller counts on; None: whichever the bundle serves.

        Raises:
            BundleError: missing, altered, not understood, or (TaskNotAvailableError) for another task.
            BackendError: the backend is missing here, or a graph does not load.
            UsageError: no such backend.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        if task is not None and task != opened.manifest.task.name:
            raise TaskNotAvailableError(
                f"the bundle {opened.path} serves another task",
                expected=repr(task),
                got=repr(opened.manifest.task.name),
                hint=f"export one for it: ptp-export --task {task}",
            )
        tables = Tables.from_bytes(opened.read(opened.manifest.entropy.tables))
        _check_tables(tables, opened.manifest)
        gains = read_gains(opened)
        graphs = load_graphs(opened, backend, threads)
        warm_up()
        prepare(opened.manifest.task)
        return cls(opened, graphs, tables, gains)

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return self.bundle.manifest

    @property
    def rates(self) -> int:
        """How many rates the bundle serves; rate 0 takes the fewest bits."""
        return 1 if self.manifest.entropy.rates is None else self.manifest.entropy.rates.count

    @property
    def default_rate(self) -> int:
        """The rate that :meth:`encode` takes unless asked for another."""
        return 0 if self.manifest.entropy.rates is None else self.manifest.entropy.rates.default

    def close(self) -> None:
        """Free what the backend holds; the session cannot be used afterwards. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._graphs.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def encode(self, image: Image, *, rate: int | None = None) -> bytes:
        """A photo as a stream.

        Args:
            image: a path, or uint8 RGB (H, W, 3); 1×1 to 4096×4096.
            rate: below :attr:`rates`, 0 for the fewest bits; None: :attr:`default_rate`.

        Raises:
            ImageError: the photo cannot be used; see :mod:`ptp_runtime.images`.
            UsageError: the bundle's graphs do not take this size, or it has no such rate.
            EngineError: a graph failed.
        """
        return self._encode(image, rate, keep_steps=False).data

    def decode(self, data: bytes) -> TaskOutput:
        """The task's output from a stream: a mask, boxes, classes or a picture.

        Raises:
            StreamError: truncated, altered, of another version, model or task, or out of step.
            EngineError: a graph failed.
        """
        return self._decode(data, keep_steps=False).output

    def infer(self, image: Image, *, rate: int | None = None) -> Inference:
        """Encode a photo, then decode that very stream. Errors as :meth:`encode` and :meth:`decode`."""
        encoded = self._encode(image, rate, keep_steps=False)
        decoded = self._decode(encoded.data, keep_steps=False)
        return Inference(encoded.data, decoded.output, encoded.rate, encoded.milliseconds, decoded.milliseconds)

    def encode_detailed(self, image: Image, *, rate: int | None = None, keep_steps: bool = True) -> Encoded:
        """As :meth:`encode`, with every intermediate tensor and stage time.

        Args:
            image, rate: see :meth:`encode`.
            keep_steps: also keep every symbol, index and mean, which take memory on large photos.
        """
        return self._encode(image, rate, keep_steps=keep_steps)

    def decode_detailed(self, data: bytes, *, keep_steps: bool = True) -> Decoded:
        """As :meth:`decode`, with every intermediate tensor and stage time; ``keep_steps`` as above."""
        return self._decode(data, keep_steps=keep_steps)

    def _encode(self, image: Image, rate: int | None, *, keep_steps: bool) -> Encoded:
        self._require_open()
        chosen = self._chosen_rate(rate)
        watch = Stopwatch()
        with watch("image"):
            pixels = load_image(image)
            pre = self.manifest.preprocessing
            height, width = coded_shape(pixels.shape[0], pixels.shape[1], pre.resize)
            self._require_size(height, width)
            photo = network_input(coded_pixels(pixels, pre.resize), pre.multiple, pre.lead_multiple)
        with watch("analysis"):
            tensors = self._run("analysis", {"image": photo} | self._gain(chosen))
        entropy, (rows, columns) = self.manifest.entropy, photo.shape[2:]
        y_shape = (1, entropy.latent_channels, rows // LATENT_STRIDE, columns // LATENT_STRIDE)
        z_shape = (1, entropy.hyper_channels, rows // HYPER_STRIDE, columns // HYPER_STRIDE)
        require_shape("the latent y", tensors["y"], y_shape, np.float32)
        require_shape("the hyper-latent z", tensors["z"], z_shape, np.float32)
        header = self._header(Rate(0, height, width, *pixels.shape[:2]), chosen)
        data, latents = encode_latents(
            self._path, self._tables, header, tensors["y"], tensors["z"], watch, keep_steps=keep_steps
        )
        size = Rate(len(data), height, width, *pixels.shape[:2])
        return Encoded(data, size, latents, {**tensors, **latents.hyper}, watch.milliseconds)

    def _decode(self, data: bytes, *, keep_steps: bool) -> Decoded:
        self._require_open()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise NotAStreamError(
                "these are no bytes",
                expected="the bytes of a stream",
                got=type(data).__name__,
                hint="read the file first",
            )
        watch = Stopwatch()
        entropy = self.manifest.entropy
        with watch("coder"):
            coder = StreamDecoder(data, self._tables, identity=entropy.identity, task=self.manifest.task.id)
        header = coder.header
        self._check_header(header)
        height, width = header.height, header.width
        original = (header.original_height or height, header.original_width or width)
        rows, columns = padded_size(height, width, self.manifest.preprocessing.multiple)
        shape = (entropy.latent_channels, rows // LATENT_STRIDE, columns // LATENT_STRIDE)
        latents = decode_latents(self._path, coder, shape, watch, keep_steps=keep_steps)
        stride = self.manifest.feature.stride
        with watch("synthesis"):
            h = self._run("synthesis", {**latents.hyper, "y_int": latents.y_int} | self._gain(header.rate))["h"]
            require_shape(
                "the feature h", h, (1, self.manifest.feature.channels, rows // stride, columns // stride), "f4"
            )
            h = np.ascontiguousarray(h[:, :, : -(-height // stride), : -(-width // stride)])
        with watch("head"):
            raw = self._run("head", {"h": h})
        for name, array in raw.items():
            require_finite(f"the head's output {name!r}", array)
        with watch("postprocess"):
            lead = lead_padding(height, width, self.manifest.preprocessing.lead_multiple)
            output = output_from_head(self.manifest.task, raw, (height, width), original, lead)
        rate = Rate(len(data), height, width, *original)
        return Decoded(output, rate, latents, {**latents.hyper, "h": h, **raw}, watch.milliseconds)

    def _run(self, role: str, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        entry = self.manifest.graph_of_role(role)
        return run_graph(self._graphs.by_name[entry.name], entry, tensors)

    def _chosen_rate(self, rate: int | None) -> int:
        chosen = self.default_rate if rate is None else rate
        if isinstance(chosen, bool) or not isinstance(chosen, (int, np.integer)) or not 0 <= chosen < self.rates:
            raise UsageError(
                f"the bundle has no rate {chosen!r}",
                expected="no rate: it has one only" if self.rates == 1 else f"0 (fewest bits) to {self.rates - 1}",
                got=repr(chosen),
                hint="ptp inspect shows the rates of a bundle",
            )
        return int(chosen)

    def _gain(self, rate: int) -> dict[str, npt.NDArray[Any]]:
        """The input ``gain`` of the graphs, where the bundle has several rates."""
        return {} if self._gains is None else {"gain": self._gains.vector(rate)}

    def _header(self, size: Rate, rate: int) -> StreamHeader:
        entropy = self.manifest.entropy
        return StreamHeader(
            identity=identity_prefix(entropy.identity),
            task=self.manifest.task.id,
            width=size.width,
            height=size.height,
            steps=len(entropy.schedule),
            skip_index=entropy.skip_index,
            original_width=size.original_width if size.resized else 0,
            original_height=size.original_height if size.resized else 0,
            rate=rate,
            float_entropy=entropy.mode == "float",
            probability_bits=entropy.probability_bits,
        )

    def _check_header(self, header: StreamHeader) -> None:
        entropy = self.manifest.entropy
        expected = (len(entropy.schedule), entropy.skip_index, entropy.probability_bits, entropy.mode == "float")
        got = (header.steps, header.skip_index, header.probability_bits, header.float_entropy)
        if got != expected:
            raise WrongModelError(
                "the stream was coded another way than this bundle codes",
                expected="{} steps, skip index {}, {} probability bits, float entropy {}".format(*expected),
                got="{} steps, skip index {}, {} probability bits, float entropy {}".format(*got),
                hint="decode it with the bundle that encoded it",
            )
        if header.rate >= self.rates:
            raise WrongModelError(
                f"the stream was coded at rate {header.rate}, which this bundle does not have",
                expected=f"a rate below {self.rates}",
                got=str(header.rate),
                hint="decode it with the bundle that encoded it",
            )
        self._require_size(header.height, header.width)

    def _require_size(self, height: int, width: int) -> None:
        pre = self.manifest.preprocessing
        rows, columns = padded_size(height, width, pre.multiple)
        if not (pre.height[0] <= rows <= pre.height[1] and pre.width[0] <= columns <= pre.width[1]):
            raise UsageError(
                "this bundle was exported for other sizes",
                expected=f"padded heights from {pre.height[0]} to {pre.height[1]}, widths from {pre.width[0]} to"
                f" {pre.width[1]}",
                got=f"{height}×{width} (height×width), padded to {rows}×{columns}",
                hint="export a bundle for this size (ptp-export --size), or scale the photo",
            )
        self._require_head_size(height, width)

    def _require_head_size(self, height: int, width: int) -> None:
        """A bundle for one size has a head for exactly that photo, not for every photo that pads to the same size."""
        stride = self.manifest.feature.stride
        wanted = (-(-height // stride), -(-width // stride))
        (feature,) = self.manifest.graph_of_role("head").inputs
        fixed = [(side, n) for side, n in zip(feature.shape[-2:], wanted, strict=True) if isinstance(side, int)]
        if any(side != n for side, n in fixed):
            raise UsageError(
                "this bundle was exported for one size of photo",
                expected=f"a feature of {' × '.join(str(side) for side in feature.shape[-2:])}, {stride} pixels each",
                got=f"{height}×{width} (height×width), a feature of {wanted[0]} × {wanted[1]}",
                hint="export a bundle for this size (ptp-export --size), or scale or cut the photo",
            )

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("the session is closed", hint="open another one")


def read_gains(bundle: Bundle) -> RateGains | None:
    """The gains of a bundle with several rates, as many as its manifest says."""
    entropy = bundle.manifest.entropy
    if entropy.rates is None:
        return None
    gains = RateGains.from_bytes(bundle.read(FileEntry(entropy.rates.file, entropy.rates.sha256)))
    wanted = (entropy.rates.count, entropy.latent_channels)
    if gains.gains.shape != wanted:
        raise WrongModelError(
            "the gains do not fit the manifest",
            expected=f"{wanted[0]} rates of {wanted[1]} channels",
            got=" × ".join(str(n) for n in gains.gains.shape),
            hint="export the bundle again",
        )
    return gains


def _check_tables(tables: Tables, manifest: Manifest) -> None:
    """Refuse tables that belong to another model than the manifest describes."""
    found = (tables.hyper_count, tables.probability_bits)
    wanted = (manifest.entropy.hyper_channels, manifest.entropy.probability_bits)
    if found != wanted:
        raise WrongModelError(
            "the frequency tables do not fit the manifest",
            expected=f"{wanted[0]} hyper channels and {wanted[1]} probability bits",
            got=f"{found[0]} and {found[1]}",
            hint="export the bundle again",
        )
