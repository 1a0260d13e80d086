"""What is fuzzed: each target has samples, a way to damage them, and a reader that may only answer with a typed error.

A reader returns the bytes of memory that it may use, computed from the input's size and, where a header says how large
the result is, from that header, before anything is decoded. See :func:`decoder_bound` and ``docs/reliability.md``.
"""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from tests.fuzz.mutations import damaged, forged_stream
from tests.fuzz.protocol import GrpcMessage, HttpBody

from ptp_runtime.bitstream import StreamHeader, read_header
from ptp_runtime.bundle import Bundle
from ptp_runtime.coder import Parity, StreamDecoder, StreamEncoder
from ptp_runtime.errors import PtpError
from ptp_runtime.golden.stored import GoldenTest
from ptp_runtime.images import FORMATS, LARGEST_SIDE, load_image
from ptp_runtime.manifest import manifest_from_json
from ptp_runtime.rate_gains import RateGains
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.session import Session
from ptp_runtime.tables import Tables, gaussian_tables, table_from_pmf

KIB, MIB = 1 << 10, 1 << 20


class WrongAcceptError(Exception):
    """Damage was decoded to something else than the sample, and nobody noticed."""


class Target(Protocol):
    """One reader of foreign bytes."""

    samples: Sequence[bytes]

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """One damaged form of a sample."""

    def bound(self, data: bytes) -> int:
        """Most bytes of memory that reading these bytes may take at any time."""

    def read(self, data: bytes) -> None:
        """Read them; any error but a PtpError is a fault."""


def decoder_bound(data: bytes, symbols: int) -> int:
    """Of the coder: a constant, a multiple of the stream, and a multiple of the symbols that the header announces.

    The constant holds the zero map of 65,535 channels, which a few bytes can claim, four times over.
    """
    return 256 * KIB + 16 * len(data) + 32 * symbols


class Coder:
    """The rANS decoder and the stream's header and prefix, without any graph: the indexes are given."""

    def __init__(self) -> None:
        self._tables = Tables.build(
            gaussian_tables(), [table_from_pmf(np.array([0.1, 0.6, 0.2]), -1, c) for c in range(2)]
        )
        self._made = [self._sample(lanes, checks) for lanes, checks in ((8, False), (8, True), (16, True), (32, False))]
        self.samples = [data for data, _, _ in self._made]
        self._indexes = self._made[0][1]

    def _sample(self, lanes: int, checks: bool) -> tuple[bytes, Any, Any]:
        noise = np.random.default_rng(5)
        indexes = np.clip(noise.normal(12, 8, (12, 6, 6)), 0, 63).astype(np.uint8)
        symbols = np.rint(noise.normal(0, 0.15 * 1.1309 ** indexes.astype(np.float64))).astype(np.int16)
        symbols[4:6] = 0
        symbols[0, ::3, 1] = 2000
        symbols[indexes < 2] = 0
        header = StreamHeader(
            identity=b"abcd", task=1, width=64, height=64, steps=2, lanes=lanes, step_checks=checks, rate=1
        )
        encoder = StreamEncoder(self._tables, header)
        encoder.z_step(noise.integers(-3, 4, (2, 2, 2)).astype(np.int16))
        encoder.step(symbols, indexes, 0, Parity.EVEN)
        encoder.step(symbols, indexes, 0, Parity.ODD)
        return encoder.finish(), indexes, symbols

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """Nine of ten with a CRC that fits."""
        if chance.randrange(10):
            return forged_stream(chance, data, self.samples)
        return damaged(chance, data, self.samples)

    def bound(self, data: bytes) -> int:
        """Of the symbols that this decoder asks for; the size in the header is only compared."""
        return decoder_bound(data, self._indexes.size + 8)

    def read(self, data: bytes) -> None:
        """Decode all steps; what passes every check must be the sample."""
        decoder = StreamDecoder(data, self._tables, identity=b"abcd", task=1, steps=2)
        decoder.z_step(2, 2)
        symbols = decoder.step(self._indexes, 0, Parity.EVEN) + decoder.step(self._indexes, 0, Parity.ODD)
        decoder.finish()
        if not np.array_equal(symbols, self._made[0][2]):
            raise WrongAcceptError("other symbols passed all checks")


class Header:
    """The header alone, as ``ptp inspect`` and a server's front door read it."""

    def __init__(self) -> None:
        self.samples = Coder().samples

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """Half with a CRC that fits."""
        return (forged_stream if chance.randrange(2) else damaged)(chance, data, self.samples)

    def bound(self, data: bytes) -> int:
        """Nothing is copied but the fields."""
        return 64 * KIB + 2 * len(data)

    def read(self, data: bytes) -> None:
        """Read it."""
        read_header(data)


class Whole:
    """A whole session of the pocket codec with an integer entropy path: graphs, coder, task output."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ptp-fuzz-")
        bundle = write_pocket_bundle(
            Path(self._folder.name) / "bundle", mode="integer", height=(64, 512), width=(64, 512)
        )
        self._session = Session.open(bundle, PocketBackend())
        noise = np.random.default_rng(1)
        sizes = ((64, 64), (33, 90), (128, 70))
        self.samples = [self._session.encode(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """With a CRC that fits."""
        return forged_stream(chance, data, self.samples)

    def bound(self, data: bytes) -> int:
        """From the header: a constant, the stream, and so much a padded pixel as the pocket codec's graphs need."""
        try:
            header = read_header(data)
        except PtpError:
            return 64 * KIB + 2 * len(data)
        rows, columns = header.padded()
        pixels = rows * columns if max(rows, columns) <= 512 else 0
        return 512 * KIB + 16 * len(data) + 24 * pixels

    def read(self, data: bytes) -> None:
        """Decode it to the task's output."""
        self._session.decode(data)


class BundleFiles:
    """A bundle's manifest, tables, gains and golden test, each under its reader, as if every digest had been forged."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory(prefix="ptp-fuzz-") as folder:
            path = write_pocket_bundle(Path(folder) / "bundle", mode="integer", rates=3)
            bundle = Bundle.open(path)
            names = ("manifest.json", "tables.bin", "rates.bin", "golden.bin")
            self.samples = [bytes([kind]) + (bundle.path / name).read_bytes() for kind, name in enumerate(names)]

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """The first byte says which reader and stays."""
        return data[:1] + damaged(chance, data[1:], [sample[1:] for sample in self.samples])

    def bound(self, data: bytes) -> int:
        """JSON becomes Python objects, some hundred bytes for few characters; arrays are copied."""
        return MIB + 64 * len(data)

    def read(self, data: bytes) -> None:
        """Read it as what its first byte says."""
        readers = (manifest_from_json, Tables.from_bytes, RateGains.from_bytes, GoldenTest.from_bytes)
        readers[data[0] % 4](data[1:])


class Photos:
    """Small files of every format that is opened."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="ptp-fuzz-")  # noqa: SIM115 - lives as long as the target
        noise = np.random.default_rng(2).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        self.samples = []
        for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF"):
            file = io.BytesIO()
            Image.fromarray(noise).save(file, name)
            self.samples.append(file.getvalue())

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """Anywhere."""
        return damaged(chance, data, self.samples)

    def bound(self, data: bytes) -> int:
        """From the size in the file's header: the photo as Pillow's, converted, and as our array; none if refused."""
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as photo:
                width, height = photo.size
        except Exception:  # noqa: BLE001 - refused, for whatever reason
            width = height = 0
        pixels = width * height if max(width, height) <= LARGEST_SIDE else 0
        return MIB + 16 * len(data) + 16 * pixels

    def read(self, data: bytes) -> None:
        """Through a path, as the commands do."""
        Path(self._file.name).write_bytes(data)
        load_image(self._file.name, convert=True)


TARGETS: dict[str, type[Any]] = {
    "coder": Coder,
    "header": Header,
    "session": Whole,
    "bundle": BundleFiles,
    "images": Photos,
    "http": HttpBody,
    "grpc": GrpcMessage,
}
