"""The Python face of the runtime: a bundle opened for encoding and decoding.

>>> from ptp_runtime import Session
>>> with Session.open("bundle") as session:          # doctest: +SKIP
...     data = session.encode("photo.jpg")
...     mask = session.decode(data).mask
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends import Backend, BackendChoice, LoadedGraphs
from ptp_runtime.backends.fallback_graph import with_fallback
from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.bundle import Bundle
from ptp_runtime.bundle_files import read_gains, read_tables
from ptp_runtime.coded_photo import coded_pixels, coded_shape
from ptp_runtime.coder import StreamDecoder, warm_up
from ptp_runtime.coding_results import Decoded, Encoded, Inference, Received
from ptp_runtime.decoder import decode_latents
from ptp_runtime.encoder import encode_latents
from ptp_runtime.entropy_path import EntropyPath, require_finite, require_shape, run_graph
from ptp_runtime.errors import EngineError, NotAStreamError, UsageError
from ptp_runtime.golden.gate import open_graphs
from ptp_runtime.golden.run import GoldenResult
from ptp_runtime.images import lead_padding, load_image, network_input, padded_size
from ptp_runtime.manifest import Manifest
from ptp_runtime.manifest.model import SIDE_ROLES
from ptp_runtime.memory import memory_for
from ptp_runtime.rate import Rate
from ptp_runtime.rate_gains import RateGains
from ptp_runtime.session_batches import Image, SessionBatches
from ptp_runtime.size_checks import require_size
from ptp_runtime.speed import SpeedProfile, speed_profile
from ptp_runtime.stopwatch import Stopwatch, observed
from ptp_runtime.stream_rules import CODERS, StreamRules
from ptp_runtime.tables import Tables
from ptp_runtime.tasks import TaskOutput
from ptp_runtime.tasks.dispatch import output_from_head, prepare
from ptp_runtime.trust import admitted

if TYPE_CHECKING:
    from ptp_runtime.device_decoder import DeviceDecoder

_log = logging.getLogger(__name__)

LATENT_STRIDE = 16
HYPER_STRIDE = 64
"""Pixels per element of the latent and of the hyper-latent, along each side."""

__all__ = ["Decoded", "Encoded", "Image", "Inference", "Session"]


class Session(SessionBatches):
    """An opened bundle. Use :meth:`open`; a session may be used from several threads.

    Attributes:
        bundle: the verified bundle.
        backend: which backend runs what, and why.
        golden: what the backend of the entropy path made of the bundle's golden test; None where none was run.
        speed: how it shares out the cores.
    """

    _device_decoder: DeviceDecoder | None = None

    def __init__(
        self,
        bundle: Bundle,
        graphs: LoadedGraphs,
        tables: Tables,
        gains: RateGains | None = None,
        *,
        golden: GoldenResult | None = None,
        step_checks: bool = True,
        float_streams: str = "refuse",
        speed: SpeedProfile | None = None,
    ) -> None:
        self.bundle = bundle
        self.speed = speed_profile("latency") if speed is None else speed
        self.backend: BackendChoice = graphs.choice
        self.golden = golden
        self._rules = StreamRules(bundle.manifest, graphs.choice.entropy.arithmetic, step_checks, float_streams)
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
        *,
        inexact: str = "auto",
        step_checks: bool = True,
        float_streams: str = "refuse",
        profile: str = "latency",
        trust: str | os.PathLike[str] | None = None,
        on_failure: str | Backend = "auto",
        coder: str = "cpu",
    ) -> Session:
        """Open a bundle, verify every file of it, load its graphs and run its golden test on them.

        Args:
            bundle: the directory that ``ptp-export`` wrote.
            backend: one of :data:`~ptp_runtime.backends.BACKEND_NAMES`: ``auto``, ``tensorrt``, ``cuda``, ``cpu`` …
            threads: of ONNX Runtime on the CPU, inside one operator; None: as the profile says.
            task: one of the bundle's tasks; None: its main one. :class:`~ptp_runtime.SharedSession` serves all.
            inexact: what to do with a backend that fails the golden test of an integer entropy path: ``refuse`` it;
                let the ``cpu`` run the entropy path in its place; or ``auto``: the latter with ``backend="auto"``, else
                the former. The streams are the same.
            step_checks: write one byte a step into streams, by which a decoder that differs names the step.
            float_streams: of a float entropy path, ``refuse`` streams that another library, kind of CPU or number of
                threads wrote, or try ``any``; a decoder that differs is noticed either way.
            profile: ``latency``: all cores work on one photo; ``throughput``: each core has a photo of a batch to
                itself. See :mod:`ptp_runtime.speed`.
            trust: who vouches for the engines, which are code; see :func:`ptp_runtime.trust.admitted`.
            on_failure: what to do when a graph fails in the middle of the work: ``raise``, or go on on the ``cpu``; see
                :func:`~ptp_runtime.backends.fallback_graph.with_fallback`.
            coder: where :meth:`decode` and :meth:`infer` decode symbols: on the ``cpu``, or, between engines, on the
                ``gpu``, so that nothing returns to the host before the head's outputs
                (:mod:`ptp_runtime.device_decoder`; the extra ``coder-gpu``). The streams are the same.

        Raises:
            BundleError: missing, altered, not understood, untrusted, or (TaskNotAvailableError) for another task.
            BackendError: the backend is missing here, a graph does not load, or (InexactBackendError) its integers are
                not those of every exact machine.
            UsageError: no such backend or choice.
        """
        if coder not in CODERS:
            raise UsageError("there is no such coder", expected=", ".join(CODERS), got=repr(coder))
        speed = speed_profile(profile, threads)
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle, task)
        opened = opened if task is None else opened.of_task(task)
        opened = admitted(opened, backend, trust)
        tables = read_tables(opened)
        gains = read_gains(opened)
        graphs, golden = open_graphs(opened, backend, speed.threads, inexact)
        graphs = with_fallback(opened, graphs, backend, speed.threads, on_failure)
        warm_up()
        prepare(opened.manifest.task)
        session = cls(
            opened,
            graphs,
            tables,
            gains,
            golden=golden,
            step_checks=step_checks,
            float_streams=float_streams,
            speed=speed,
        )
        if coder == "gpu":
            session.decode_on_device()
        return session

    def decode_on_device(self) -> None:
        """From here on, decode symbols between the engines, as ``open(coder="gpu")``.

        Raises:
            BackendNotAvailableError: the graphs are not all engines on a GPU, or the extra ``coder-gpu`` is missing.
        """
        # The kernels' compiler and its host side are nothing that other sessions should load.
        from ptp_runtime.device_decoder import device_decoder_of

        self._device_decoder = device_decoder_of(self.manifest, self._graphs, self._path, self._tables)

    def beside(self, bundle: Bundle, graphs: LoadedGraphs, golden: GoldenResult | None) -> Session:
        """A session of another task of the same bundle, with the same choices.

        Args:
            bundle: for that task.
            graphs: of it; closing the session closes them.
            golden: what the golden test of that task gave.
        """
        tables = read_tables(bundle)
        prepare(bundle.manifest.task)
        session = Session(
            bundle,
            graphs,
            tables,
            read_gains(bundle),
            golden=golden,
            step_checks=self._rules.step_checks,
            float_streams=self._rules.float_streams,
            speed=self.speed,
        )
        if self._device_decoder is not None:
            session.decode_on_device()
        return session

    @property
    def graphs(self) -> LoadedGraphs:
        """The loaded graphs; they are closed with the session."""
        return self._graphs

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return self.bundle.manifest

    @property
    def rates(self) -> int:
        """How many rates the bundle serves; rate 0 takes the fewest bits."""
        return self._rules.rates

    @property
    def default_rate(self) -> int:
        """The rate that :meth:`encode` takes unless asked for another."""
        return 0 if self.manifest.entropy.rates is None else self.manifest.entropy.rates.default

    def close(self) -> None:
        """Free what the backend holds; the session cannot be used afterwards. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            if self._device_decoder is not None:
                self._device_decoder.close()
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
            OutOfMemoryError: the photo needs more memory than there is.
        """
        return self._encode(image, rate, keep_steps=False).data

    def decode(self, data: bytes) -> TaskOutput:
        """The task's output from a stream: a mask, boxes, classes or a picture.

        Raises:
            StreamError: truncated, altered, of another version, model or task, or out of step.
            EngineError: a graph failed.
            OutOfMemoryError: the stream's photo needs more memory than there is.
        """
        return self._output_of(data, Stopwatch())

    def infer(self, image: Image, *, rate: int | None = None) -> Inference:
        """Encode a photo, then decode that very stream. Errors as :meth:`encode` and :meth:`decode`."""
        encoded = self._encode(image, rate, keep_steps=False)
        watch = Stopwatch()
        output = self._output_of(encoded.data, watch)
        return Inference(encoded.data, output, encoded.rate, encoded.milliseconds, watch.milliseconds)

    def encode_detailed(self, image: Image, *, rate: int | None = None, keep_steps: bool = True) -> Encoded:
        """As :meth:`encode`, with every intermediate tensor and stage time.

        Args:
            image, rate: see :meth:`encode`.
            keep_steps: also keep every symbol, index and mean, which take memory on large photos.
        """
        return self._encode(image, rate, keep_steps=keep_steps)

    def decode_detailed(self, data: bytes, *, keep_steps: bool = True) -> Decoded:
        """As :meth:`decode`, with every intermediate tensor and stage time; ``keep_steps`` as above.

        The symbols are decoded on the CPU, since a coder on the GPU leaves the tensors there.
        """
        watch = Stopwatch()
        return self.show(self.receive(data, watch, keep_steps=keep_steps), watch)

    @memory_for("to encode this photo")
    def _encode(self, image: Image, rate: int | None, *, keep_steps: bool) -> Encoded:
        self._require_open()
        chosen = self._chosen_rate(rate)
        watch = Stopwatch()
        with watch("image"):
            pixels = load_image(image)
            pre = self.manifest.preprocessing
            height, width = coded_shape(pixels.shape[0], pixels.shape[1], pre.resize)
            require_size(self.manifest, height, width)
            photo = network_input(coded_pixels(pixels, pre.resize), pre.multiple, pre.lead_multiple)
        with watch("analysis"):
            tensors = self._run("analysis", {"image": photo} | self._gain(chosen))
        entropy, (rows, columns) = self.manifest.entropy, photo.shape[2:]
        y_shape = (1, entropy.latent_channels, rows // LATENT_STRIDE, columns // LATENT_STRIDE)
        z_shape = (1, entropy.hyper_channels, rows // HYPER_STRIDE, columns // HYPER_STRIDE)
        require_shape("the latent y", tensors["y"], y_shape, np.float32)
        require_shape("the hyper-latent z", tensors["z"], z_shape, np.float32)
        header = self._rules.header(Rate(0, height, width, *pixels.shape[:2]), chosen)
        data, latents = encode_latents(
            self._path, self._tables, header, tensors["y"], tensors["z"], watch, keep_steps=keep_steps
        )
        size = Rate(len(data), height, width, *pixels.shape[:2])
        return Encoded(data, size, latents, {**tensors, **latents.hyper}, watch.milliseconds)

    def _output_of(self, data: bytes, watch: Stopwatch) -> TaskOutput:
        if self._device_decoder is not None:
            try:
                return self._decoded_on_device(self._device_decoder, data, watch)
            except EngineError as failure:
                _log.warning("%s; the coder on the CPU decodes this stream", failure)
                watch.milliseconds.clear()
        return self.show(self.receive(data, watch), watch).output

    @memory_for("to decode this stream")
    def _decoded_on_device(self, decoder: DeviceDecoder, data: bytes, watch: Stopwatch) -> TaskOutput:
        coder, shape = self._opened(data, watch)
        header, stride = coder.header, self.manifest.feature.stride
        kept = (-(-header.height // stride), -(-header.width // stride))
        hint = partial(self._out_of_step, header)
        raw = decoder.decode(data, header, shape, kept, self._gain(header.rate), watch, hint)
        return self._output(header, raw, header.photo_size, watch)

    @memory_for("to decode this stream")
    def receive(self, data: bytes, watch: Stopwatch, *, keep_steps: bool = False) -> Received:
        """The first half of a decoding: the latents of a stream.

        Args:
            data: the stream.
            watch: gets the stages.
            keep_steps: see :meth:`encode_detailed`.

        Raises:
            StreamError, EngineError: as :meth:`decode`.
        """
        coder, shape = self._opened(data, watch)
        hint = partial(self._out_of_step, coder.header)
        latents = decode_latents(self._path, coder, shape, watch, keep_steps=keep_steps, hint=hint)
        return Received(coder.header, latents, len(data))

    def _opened(self, data: bytes, watch: Stopwatch) -> tuple[StreamDecoder, tuple[int, int, int]]:
        """A stream that this session may decode, and the shape of its latent: channels, rows, columns."""
        self._require_open()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise NotAStreamError(
                "these are no bytes",
                expected="the bytes of a stream",
                got=type(data).__name__,
                hint="read the file first",
            )
        entropy = self.manifest.entropy
        with watch("coder"):
            coder = StreamDecoder(data, self._tables, identity=entropy.identity, task=self.manifest.task.id)
        header = coder.header
        self._rules.check(header)
        require_size(self.manifest, header.height, header.width)
        rows, columns = padded_size(header.height, header.width, self.manifest.preprocessing.multiple)
        return coder, (entropy.latent_channels, rows // LATENT_STRIDE, columns // LATENT_STRIDE)

    def _out_of_step(self, header: StreamHeader) -> str:
        return self._rules.out_of_step(header, self.backend.entropy.provider, self._golden_clause())

    @memory_for("to decode this stream")
    def show(self, received: Received, watch: Stopwatch, *, whole_photo: bool = True) -> Decoded:
        """The second half of a decoding: what this session's task makes of latents, which may be another task's.

        Args:
            received: of :meth:`receive`, by a session of the same codec.
            watch: gets the stages.
            whole_photo: give the output in the photo's own pixels; else in those that were coded, of a stream that
                holds a part of its photo.

        Raises:
            UsageError: this session does not take the size, or its bundle is an encoder's.
            EngineError: a graph failed.
        """
        self._require_open()
        header, latents = received.header, received.latents
        height, width = header.height, header.width
        require_size(self.manifest, height, width)
        original = header.photo_size if whole_photo else (height, width)
        rows, columns = padded_size(height, width, self.manifest.preprocessing.multiple)
        stride = self.manifest.feature.stride
        with watch("synthesis"):
            h = self._run("synthesis", {**latents.hyper, "y_int": latents.y_int} | self._gain(header.rate))["h"]
            require_shape(
                "the feature h", h, (1, self.manifest.feature.channels, rows // stride, columns // stride), "f4"
            )
            with observed("copies"):
                h = np.ascontiguousarray(h[:, :, : -(-height // stride), : -(-width // stride)])
        with watch("head"):
            raw = self._run("head", {"h": h})
        output = self._output(header, raw, original, watch)
        rate = Rate(received.size_bytes, height, width, *original)
        return Decoded(output, rate, latents, {**latents.hyper, "h": h, **raw}, watch.milliseconds)

    def _output(
        self,
        header: StreamHeader,
        raw: Mapping[str, npt.NDArray[Any]],
        original: tuple[int, int],
        watch: Stopwatch,
    ) -> TaskOutput:
        """What the head's outputs say, in the pixels of a photo of this size."""
        for name, array in raw.items():
            require_finite(f"the head's output {name!r}", array)
        size = (header.height, header.width)
        with watch("postprocess"):
            lead = lead_padding(*size, self.manifest.preprocessing.lead_multiple)
            return output_from_head(self.manifest.task, raw, size, original, lead)

    def _run(self, role: str, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        if role not in SIDE_ROLES[self.manifest.side]:
            raise UsageError(
                f"this bundle is the {self.manifest.side}'s side of one: it has no {role}",
                expected="the other side's bundle, or the whole one",
                got=str(self.bundle.path),
                hint="see ptp split",
            )
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

    def _golden_clause(self) -> str:
        if self.golden is None:
            return "no golden test was run"
        return f"golden test passed, digest {self.golden.digest[:16]}"

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("the session is closed", hint="open another one")
