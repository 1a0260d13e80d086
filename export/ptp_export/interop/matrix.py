"""Every configuration's streams decoded by every configuration."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ptp_export.interop.compare import Comparison, Difference, decode_beside
from ptp_export.interop.configurations.configuration import Configuration, EntropyFiles, Opened
from ptp_export.interop.latents import LatentItem
from ptp_export.interop.locate import LayerDifference, differing_layer
from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.bundle import Bundle
from ptp_runtime.encoder import encode_latents
from ptp_runtime.entropy_path import EntropyPath
from ptp_runtime.errors import BackendNotAvailableError, EngineError, VerificationError
from ptp_runtime.latents import Latents
from ptp_runtime.stopwatch import Stopwatch
from ptp_runtime.stream_rules import StreamRules
from ptp_runtime.tables import Tables


@dataclass(frozen=True)
class FirstDifference:
    """Where a cell first differs.

    Attributes:
        photo, rate, height, width: of the item.
        place: in its latent.
        layer: the first layer that differs; None where it could not be found out.
    """

    photo: str
    rate: int
    height: int
    width: int
    place: Difference
    layer: LayerDifference | None


@dataclass
class Cell:
    """Streams of one encoder with one decoder.

    Attributes:
        encoder, decoder: names of configurations.
        streams: compared.
        shared: of them, how many an earlier encoder had written byte for byte alike, with the same indices and means:
            the decoder decoded such a stream once for all of its encoders.
        symbols: compared, in all streams.
        decoded: of them, those of streams that were decoded for this cell.
        differences, indices, means: see :class:`~ptp_export.interop.compare.Comparison`.
        broken: streams with a difference.
        noticed: of them, how many an ordinary decoder refused.
        first: the first difference.
    """

    encoder: str
    decoder: str
    streams: int = 0
    shared: int = 0
    symbols: int = 0
    decoded: int = 0
    differences: int = 0
    indices: int = 0
    means: int = 0
    broken: int = 0
    noticed: int = 0
    first: FirstDifference | None = None

    @property
    def status(self) -> str:
        """``equal``, ``differs`` or ``not compared``; only ``equal`` is green."""
        if not self.streams:
            return "not compared"
        return "differs" if self.differences else "equal"


@dataclass
class Taking:
    """A configuration that takes part.

    Attributes:
        configuration: as chosen.
        opened: its graphs.
        encoded, decoded: symbols.
        speeds: symbols a second in the entropy graphs, one a decoding.
    """

    configuration: Configuration
    opened: Opened
    path: EntropyPath
    encoded: int = 0
    decoded: int = 0
    speeds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the configuration."""
        return self.configuration.name

    def takes(self, item: LatentItem) -> bool:
        """Whether the item is not too large for it."""
        largest = self.configuration.largest_item
        return largest is None or item.symbols <= largest


@dataclass(frozen=True)
class Absent:
    """A configuration that takes no part.

    Attributes:
        name: of it.
        reason: a clause.
        same_as: name of the configuration that computes in the same way, which stands for both; else empty.
    """

    name: str
    reason: str
    same_as: str = ""


@dataclass
class Matrix:
    """What came of one bundle.

    Attributes:
        bundle: it.
        taking: configurations that took part.
        absent: the others.
        cells: one for each encoder and decoder.
        items: latents coded.
        distinct: streams that differed from the other encoders' of the same item, summed over the items.
        decodings: of a distinct stream by one decoder. The counts below count each of them once, however many encoders
            wrote its stream.
        symbols, differences, indices, means: see :class:`~ptp_export.interop.compare.Comparison`.
        broken: decodings with a difference.
        noticed: of them, how many an ordinary decoder refused.
        seconds: the whole took.
    """

    bundle: Bundle
    taking: list[Taking]
    absent: list[Absent]
    cells: list[Cell] = field(default_factory=list)
    items: list[LatentItem] = field(default_factory=list)
    distinct: int = 0
    decodings: int = 0
    symbols: int = 0
    differences: int = 0
    indices: int = 0
    means: int = 0
    broken: int = 0
    noticed: int = 0
    seconds: float = 0.0

    def add(self, found: Comparison) -> None:
        """Count one decoding."""
        self.decodings += 1
        self.symbols += found.symbols
        self.differences += found.differences
        self.indices += found.indices
        self.means += found.means
        self.broken += found.first is not None
        self.noticed += found.noticed


class Watcher(Protocol):
    """Is told how far a comparison is."""

    def opening(self, name: str) -> None:
        """A configuration is being opened."""

    def compared(self, symbols: int, wanted: int) -> None:
        """An item is done: symbols so far, and how many there are to be."""


def compare_all(
    bundle: Bundle,
    configurations: Sequence[Configuration],
    items: Iterable[LatentItem],
    wanted: int,
    watcher: Watcher,
    *,
    least_items: int = 1,
) -> Matrix:
    """Encode items with every configuration and decode every distinct stream with every configuration.

    Args:
        bundle: opened.
        configurations: those not at hand, or the same as an earlier one, are listed as absent with the reason.
        items: taken one after the other until enough was compared; they may go on for ever.
        wanted: symbols to compare at least, decodings of this bundle counted.
        watcher: see there.
        least_items: how many items to take whatever their size.

    Raises:
        EngineError: a graph failed.
        VerificationError: nothing can be compared.
    """
    start = time.perf_counter()
    files, tables = EntropyFiles.of(bundle), Tables.from_bytes(bundle.read(bundle.manifest.entropy.tables))
    matrix = _opened(bundle, files, tables, configurations, watcher)
    if not matrix.taking:
        raise VerificationError(
            "no configuration can run the entropy path of this bundle",
            expected="at least one",
            got="; ".join(f"{absent.name}: {absent.reason}" for absent in matrix.absent)[:500] or "none was chosen",
        )
    try:
        cells = {(a.name, b.name): Cell(a.name, b.name) for a in matrix.taking for b in matrix.taking}
        matrix.cells = list(cells.values())
        run = _Run(files, tables, matrix, cells)
        for item in items:
            run.add(item)
            watcher.compared(matrix.symbols, wanted)
            enough = matrix.symbols >= wanted and len(matrix.items) >= least_items
            if enough and all(one.decoded for one in matrix.taking):
                break
    finally:
        for one in matrix.taking:
            one.opened.close()
    matrix.seconds = time.perf_counter() - start
    return matrix


def _opened(
    bundle: Bundle,
    files: EntropyFiles,
    tables: Tables,
    configurations: Sequence[Configuration],
    watcher: Watcher,
) -> Matrix:
    matrix = Matrix(bundle, [], [])
    known: dict[tuple[object, ...], str] = {}
    for configuration in configurations:
        if configuration.integer_only and bundle.manifest.entropy.mode != "integer":
            matrix.absent.append(Absent(configuration.name, "computes integer paths only"))
            continue
        watcher.opening(configuration.name)
        try:
            opened = configuration.open(files)
        except (BackendNotAvailableError, EngineError) as error:
            reason = error.message + (f" ({error.got})" if error.got else "")
            matrix.absent.append(Absent(configuration.name, reason))
            continue
        if opened.identity in known:
            opened.close()
            matrix.absent.append(Absent(configuration.name, "counted once", same_as=known[opened.identity]))
            continue
        known[opened.identity] = configuration.name
        path = EntropyPath(bundle.manifest, opened.graphs, tables.scale_count)
        matrix.taking.append(Taking(configuration, opened, path))
    return matrix


@dataclass(frozen=True)
class _Sent:
    """A distinct stream, and the first configuration that wrote it."""

    encoder: Taking
    data: bytes
    latents: Latents


class _Run:
    """The state of a comparison."""

    def __init__(self, files: EntropyFiles, tables: Tables, matrix: Matrix, cells: dict[tuple[str, str], Cell]) -> None:
        self._files, self._tables, self._matrix, self._cells = files, tables, matrix, cells
        # Fingerprints of arithmetic would make every stream of a float path another one.
        here = Arithmetic("compared", "several", "here")
        self._rules = StreamRules(matrix.bundle.manifest, here)
        self._layers: dict[tuple[str, str], LayerDifference | None] = {}

    def add(self, item: LatentItem) -> None:
        """Encode and decode one item with everyone who takes it."""
        taking = [one for one in self._matrix.taking if one.takes(item)]
        header = replace(self._rules.header(item.size, item.piece.rate), arithmetic=b"")
        distinct: dict[str, _Sent] = {}
        wrote: list[tuple[Taking, str]] = []
        for encoder in taking:
            sent = self._encode(encoder, header, item)
            key = _digest(sent)
            distinct.setdefault(key, sent)
            wrote.append((encoder, key))
        results: dict[tuple[str, str], Comparison] = {}
        for key, sent in distinct.items():
            for decoder in taking:
                found = decode_beside(decoder.path, self._tables, sent.data, sent.latents)
                decoder.decoded += found.symbols
                decoder.speeds.append(found.symbols / found.seconds)
                self._matrix.add(found)
                results[key, decoder.name] = found
        for encoder, key in wrote:
            for decoder in taking:
                self._count(item, encoder, decoder, distinct[key], results[key, decoder.name])
        self._matrix.items.append(item)
        self._matrix.distinct += len(distinct)

    def _encode(self, encoder: Taking, header: StreamHeader, item: LatentItem) -> _Sent:
        data, latents = encode_latents(encoder.path, self._tables, header, item.y, item.z, Stopwatch(), keep_steps=True)
        encoder.encoded += item.symbols
        return _Sent(encoder, data, latents)

    def _count(self, item: LatentItem, encoder: Taking, decoder: Taking, sent: _Sent, found: Comparison) -> None:
        cell = self._cells[encoder.name, decoder.name]
        own = sent.encoder is encoder
        cell.streams += 1
        cell.shared += not own
        cell.symbols += found.symbols
        cell.decoded += found.symbols * own
        cell.differences += found.differences
        cell.indices += found.indices
        cell.means += found.means
        if found.first is None:
            return
        cell.broken += 1
        cell.noticed += found.noticed
        if cell.first is None:
            piece = item.piece
            layer = self._layer(sent.encoder, decoder, sent.latents, found.first.step)
            cell.first = FirstDifference(piece.photo, piece.rate, item.size.height, item.size.width, found.first, layer)

    def _layer(self, encoder: Taking, decoder: Taking, sent: Latents, step: int) -> LayerDifference | None:
        sides = (encoder.configuration, decoder.configuration)
        pair = (encoder.name, decoder.name)
        if pair not in self._layers:
            # The oracle hands on other numbers than the files say: it cannot be run beside them layer by layer.
            comparable = not any(side.integer_only for side in sides)
            manifest = self._matrix.bundle.manifest
            self._layers[pair] = differing_layer(self._files, manifest, *sides, sent, step) if comparable else None
        return self._layers[pair]


def _digest(sent: _Sent) -> str:
    """Of the stream and of every number behind it: means of the last steps leave no trace in a float stream."""
    digest = hashlib.sha256(sent.data)
    for step in sent.latents.steps:
        digest.update(step.index.tobytes())
        digest.update(step.mean.tobytes())
    return digest.hexdigest()
