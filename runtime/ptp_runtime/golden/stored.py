"""What a golden test stores, and its file ``golden.bin``.

An integer entropy path gives the same integers on every machine that computes exactly. Whether one does is seen by
running the path on inputs that came with the bundle and comparing with results that the exporter computed in whole
numbers. The file format is described in ``docs/bundle-format.md``; the reader trusts nothing in it.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import BundleError, UsageError
from ptp_runtime.manifest import REGIONS

GOLDEN_LIMIT = 16 << 20
"""Largest ``golden.bin`` that is read, bytes: a real one has some hundreds of kB."""

MAX_SIDE = 16
"""Rows and columns of the golden hyper-latent: the test is run whenever a bundle is opened."""

MAX_STEPS = 255
MAX_DIGESTS = 1024
MAX_NAME = 255

_MAGIC = b"PTPX"
_VERSION = 1
_HEAD = struct.Struct("<4sBBHHBBH")
_STEP = struct.Struct("<HHB")
_COUNT = struct.Struct("<H")
_CRC = struct.Struct("<I")


def value_digest(array: npt.NDArray[Any]) -> int:
    """CRC-32 over an array's values: float32, little-endian, C order, with 0 for a negative 0.

    Integers below 2^24 and dyadic fractions of 24 bits, which is what an exact path holds, are float32 without loss.

    Raises:
        UsageError: a value that float32 does not hold.
    """
    values = np.ascontiguousarray(array, "<f4")
    whole = np.issubdtype(array.dtype, np.integer) and array.size > 0
    held = not whole or max(-int(array.min()), int(array.max())) <= 1 << 24
    if array.dtype != np.float32 and not (held and np.array_equal(values, array)):
        raise UsageError("values of a golden test", expected="numbers that float32 holds", got=f"others, {array.dtype}")
    # -0 + 0 is 0: whether a product of zeros has a sign is no difference.
    return zlib.crc32((values + np.float32(0)).astype("<f4", copy=False).tobytes())


def _checked(what: str, array: npt.NDArray[Any], dtype: type[np.generic], axes: int) -> None:
    if array.dtype != dtype or array.ndim != axes or array.size == 0:
        raise UsageError(
            f"golden test: {what}",
            expected=f"{np.dtype(dtype)} of {axes} axes, none empty",
            got=f"{array.dtype} {array.shape}",
        )


def _check_names(what: str, digests: Mapping[str, int]) -> None:
    if len(digests) > MAX_DIGESTS:
        raise UsageError(f"golden test: {what}", expected=f"at most {MAX_DIGESTS}", got=str(len(digests)))
    for name, digest in digests.items():
        if not 1 <= len(name) <= MAX_NAME or any(not 33 <= ord(c) <= 126 for c in name):
            raise UsageError(
                f"golden test: {what}", expected=f"1 to {MAX_NAME} printable ASCII characters", got=repr(name[:60])
            )
        if not 0 <= digest < 1 << 32:
            raise UsageError(f"golden test: {what}", expected="a CRC-32", got=str(digest))


@dataclass(frozen=True)
class GoldenStep:
    """What one step of the schedule must give.

    Attributes:
        channels: first channel of y and the one behind the last, as in the schedule.
        region: as in the schedule.
        index: uint8 [g, rows, columns] over the region's box.
        mean: int16, likewise, units of 1/16.
        outputs: :func:`value_digest` of each further output that a later step reads, by name.
        layers: :func:`value_digest` of each layer's tensor by the layer's name, in the order of computation.
    """

    channels: tuple[int, int]
    region: str
    index: npt.NDArray[np.uint8]
    mean: npt.NDArray[np.int16]
    outputs: Mapping[str, int] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start, stop = self.channels
        if not 0 <= start < stop <= 65535 or self.region not in REGIONS:
            raise UsageError(
                "golden test: step", expected="channels and a region", got=f"{self.channels} {self.region}"
            )
        _checked("index", self.index, np.uint8, 3)
        _checked("mean", self.mean, np.int16, 3)
        if self.index.shape != self.mean.shape:
            raise UsageError("golden test: mean", expected=str(self.index.shape), got=str(self.mean.shape))
        _check_names("outputs of a step", self.outputs)
        _check_names("layers of a step", self.layers)


@dataclass(frozen=True)
class GoldenTest:
    """Inputs of an entropy path and what it must give for them.

    The latent that step k reads is derived: ``y_int`` is 16·q + mean at the positions that the steps before k code,
    with the stored means, and 0 elsewhere. So each step is tested by itself, whatever the one before it gave.

    Attributes:
        z_hat: int16 [Z, rows, columns], what the hyper graph is given.
        q: int16 [M, 4·rows, 4·columns], the symbols.
        steps: in the order of the schedule.
        outputs: :func:`value_digest` of each output of the hyper graph that a step reads, by name.
        layers: :func:`value_digest` of the hyper graph's layers, in the order of computation.

    Raises:
        UsageError: arrays of other shapes or dtypes, or names that the file cannot hold.
    """

    z_hat: npt.NDArray[np.int16]
    q: npt.NDArray[np.int16]
    steps: tuple[GoldenStep, ...]
    outputs: Mapping[str, int] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _checked("z_hat", self.z_hat, np.int16, 3)
        _checked("q", self.q, np.int16, 3)
        rows, columns = self.z_hat.shape[1:]
        if max(rows, columns) > MAX_SIDE or self.q.shape[1:] != (4 * rows, 4 * columns):
            raise UsageError(
                "golden test: q",
                expected=f"z_hat of at most {MAX_SIDE} × {MAX_SIDE} and q four times as large",
                got=f"{self.z_hat.shape} and {self.q.shape}",
            )
        if max(self.z_hat.shape[0], self.q.shape[0]) > 65535 or not 1 <= len(self.steps) <= MAX_STEPS:
            raise UsageError(
                "golden test: sizes",
                expected=f"at most 65535 channels, 1 to {MAX_STEPS} steps",
                got=f"{self.z_hat.shape[0]} and {self.q.shape[0]} channels, {len(self.steps)} steps",
            )
        for number, step in enumerate(self.steps):
            wanted = _box(step.channels, step.region, rows, columns)
            if step.channels[1] > self.q.shape[0] or step.index.shape != wanted:
                raise UsageError(
                    f"golden test: step {number}",
                    expected=f"{wanted} within {self.q.shape[0]} channels",
                    got=f"{step.index.shape} of the channels {step.channels}",
                )
        _check_names("outputs of the hyper graph", self.outputs)
        _check_names("layers of the hyper graph", self.layers)

    @property
    def digest(self) -> str:
        """Names what an exact machine computes: see :func:`results_digest`."""
        results = [("hyper", name, value) for name, value in self.outputs.items()]
        for number, step in enumerate(self.steps):
            exact = {"index": value_digest(step.index), "mean": value_digest(step.mean), **step.outputs}
            results += [(f"step {number}", name, value) for name, value in exact.items()]
        return results_digest(results)

    def to_bytes(self) -> bytes:
        """The content of ``golden.bin``; inverse of :meth:`from_bytes`.

        Raises:
            UsageError: more than :data:`GOLDEN_LIMIT` bytes.
        """
        channels, rows, columns = self.z_hat.shape
        parts = [
            _HEAD.pack(_MAGIC, _VERSION, 0, channels, self.q.shape[0], rows, columns, len(self.steps)),
            self.z_hat.astype("<i2").tobytes(),
            self.q.astype("<i2").tobytes(),
            _put_digests(self.outputs),
            _put_digests(self.layers),
        ]
        for step in self.steps:
            parts += [
                _STEP.pack(*step.channels, REGIONS.index(step.region)),
                step.index.tobytes(),
                step.mean.astype("<i2").tobytes(),
                _put_digests(step.outputs),
                _put_digests(step.layers),
            ]
        data = b"".join(parts)
        if len(data) > GOLDEN_LIMIT:
            raise UsageError("golden test: size", expected=f"at most {GOLDEN_LIMIT} bytes", got=str(len(data)))
        return data

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> GoldenTest:
        """Read ``golden.bin``. No count in it can ask for more memory than the file has bytes.

        Raises:
            BundleError: another format or version, fewer or more bytes than promised, a field that cannot be.
        """
        if len(data) > GOLDEN_LIMIT:
            raise _broken(f"at most {GOLDEN_LIMIT} bytes", f"{len(data)} or more")
        reader = _Reader(bytes(data))
        if reader.view[:4] != _MAGIC:
            raise _broken(f"a file that begins with {_MAGIC.decode()}", repr(reader.view[:4]))
        _, version, reserved, z, m, rows, columns, steps = reader.fields(_HEAD, "the head")
        if version != _VERSION or reserved:
            raise _broken(f"version {_VERSION}", f"version {version}, reserved byte {reserved}")
        if not (1 <= rows <= MAX_SIDE and 1 <= columns <= MAX_SIDE and z and m and 1 <= steps <= MAX_STEPS):
            raise _broken(
                f"channels, 1 to {MAX_SIDE} rows and columns, 1 to {MAX_STEPS} steps",
                f"{z} and {m} channels, {rows} × {columns}, {steps} steps",
            )
        try:
            test = cls(
                z_hat=reader.array("z_hat", "<i2", (z, rows, columns)).astype(np.int16, copy=False),
                q=reader.array("q", "<i2", (m, 4 * rows, 4 * columns)).astype(np.int16, copy=False),
                outputs=reader.digests("the outputs of the hyper graph"),
                layers=reader.digests("the layers of the hyper graph"),
                steps=tuple(_take_step(reader, number, rows, columns) for number in range(steps)),
            )
        except UsageError as error:
            raise _broken(error.expected, f"{error.message}: {error.got}") from error
        if reader.position != len(reader.view):
            raise _broken(f"{reader.position} bytes", str(len(reader.view)))
        return test


def results_digest(results: list[tuple[str, str, int]]) -> str:
    """One name for all that a path computed: SHA-256 over lines ``<graph> <output> <CRC-32 in hex>``, 64 hex digits.

    Args:
        results: graph (``hyper``, ``step 0`` …), output and :func:`value_digest` of it. Further outputs of a graph
            stand in the order of the file, behind ``index`` and ``mean``.
    """
    text = "".join(f"{graph} {name} {digest:08x}\n" for graph, name, digest in results)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _box(channels: tuple[int, int], region: str, rows: int, columns: int) -> tuple[int, int, int]:
    """Shape of a step's arrays for a hyper-latent of rows × columns: a quadrant is half the latent's sides."""
    scale = 2 if "-" in region else 4
    return channels[1] - channels[0], scale * rows, scale * columns


def _put_digests(digests: Mapping[str, int]) -> bytes:
    parts = [_COUNT.pack(len(digests))]
    parts += [bytes([len(name)]) + name.encode("ascii") + _CRC.pack(digest) for name, digest in digests.items()]
    return b"".join(parts)


def _take_step(reader: _Reader, number: int, rows: int, columns: int) -> GoldenStep:
    start, stop, region = reader.fields(_STEP, f"step {number}")
    if start >= stop or region >= len(REGIONS):
        raise _broken("channels and a region", f"{start} … {stop}, region {region} in step {number}")
    name = REGIONS[region]
    shape = _box((start, stop), name, rows, columns)
    return GoldenStep(
        channels=(start, stop),
        region=name,
        index=reader.array(f"the index of step {number}", "u1", shape),
        mean=reader.array(f"the mean of step {number}", "<i2", shape).astype(np.int16, copy=False),
        outputs=reader.digests(f"the outputs of step {number}"),
        layers=reader.digests(f"the layers of step {number}"),
    )


class _Reader:
    """A position in bytes that nobody vouches for: every length is compared with what is left before it is used."""

    def __init__(self, view: bytes) -> None:
        self.view = view
        self.position = 0

    def take(self, what: str, size: int) -> bytes:
        end = self.position + size
        if end > len(self.view):
            raise _broken(f"{size} bytes of {what} at byte {self.position}", f"a file of {len(self.view)} bytes")
        piece = self.view[self.position : end]
        self.position = end
        return piece

    def fields(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        return layout.unpack(self.take(what, layout.size))

    def array(self, what: str, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        return np.frombuffer(self.take(what, math.prod(shape) * np.dtype(dtype).itemsize), dtype).reshape(shape)

    def digests(self, what: str) -> dict[str, int]:
        (count,) = self.fields(_COUNT, what)
        if count > MAX_DIGESTS:
            raise _broken(f"at most {MAX_DIGESTS} of {what}", str(count))
        digests: dict[str, int] = {}
        for _ in range(count):
            raw = self.take(what, self.take(what, 1)[0])
            name = raw.decode("ascii", "replace")
            if name in digests:
                raise _broken(f"each of {what} once", f"{name!r} twice")
            (digests[name],) = self.fields(_CRC, what)
        return digests


def _broken(expected: str, got: str) -> BundleError:
    return BundleError("golden.bin cannot be read", expected=expected, got=got, hint="export the bundle again")
