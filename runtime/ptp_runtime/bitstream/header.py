"""The header of a stream: who wrote it, what it holds, and whether its bytes are whole.

Nothing here needs the tables or numba: ``ptp inspect`` and a server's front door read headers with this module alone.
The byte layout is ``docs/bitstream-format.md``, section "Header".
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from ptp_runtime.bitstream.varint import put_varint, take_varint
from ptp_runtime.errors import (
    CorruptStreamError,
    NotAStreamError,
    StreamVersionError,
    TruncatedStreamError,
    UsageError,
)

MAGIC = b"PT"
VERSION = 1
LANE_COUNTS = (8, 16, 32)
MAX_SIDE = 65535

FLAG_FLOAT_ENTROPY = 1
FLAG_STEP_CHECKS = 2
FLAG_ZERO_MAP = 4
FLAG_RESIZED = 8
FLAG_RATE = 16
FLAG_ARITHMETIC = 32
FLAG_MEANS = 64

ARITHMETIC_BYTES = 4
"""Of the fingerprint of a float path's arithmetic: what a stream carries of it."""

_FIXED = struct.Struct("<2sBBBBB4sBHH")
_SIZE = struct.Struct("<HH")
_RATE = struct.Struct("<BB")
_CRC = struct.Struct("<I")

_RANGES = {
    "task": (0, 255),
    "width": (1, MAX_SIDE),
    "height": (1, MAX_SIDE),
    "steps": (0, 255),
    "skip_index": (0, 255),
    "rate": (0, 255),
    "quality": (0, 255),
    "original_width": (0, MAX_SIDE),
    "original_height": (0, MAX_SIDE),
}


@dataclass(frozen=True, kw_only=True)
class StreamHeader:
    """What stands in front of the coded symbols.

    A writer fills in the first group; ``lanes``, ``zero_map`` and ``payload_bytes`` are the coder's to choose and are
    seen by readers only (a writer may fix ``lanes``, for tests and comparisons).

    Attributes:
        identity: first 4 bytes of the SHA-256 that names tables, entropy path and the task's hyper-prompts.
        task: 0 view, 1 seg, 2 det, 3 cls.
        width: columns of the image that the codec was given, before padding, 1 … 65535.
        height: rows of it.
        steps: y steps of the schedule; z is step 0 and not counted.
        skip_index: symbols whose scale index is below it are not coded and are 0.
        original_width: columns before a declared resize; 0 = there was none.
        original_height: rows before a declared resize; 0 = there was none.
        rate: number of the rate vector, 0 when the codec has none.
        quality: what the user asked for, for information; 0 = nothing.
        float_entropy: the scale indices come from a floating-point graph, so only a like machine can decode.
        step_checks: one byte a step that names the first step at which a decoder differs.
        arithmetic: of a float entropy path, the first 4 bytes of the fingerprint of its arithmetic
            (:mod:`ptp_runtime.arithmetic`); empty = not said.
        seals_means: the hash and the step checks also cover the means of every step.
        lanes: interleaved coder states (8, 16 or 32); 0 = not chosen yet.
        zero_map: the payload begins with a map of channels that are zero throughout.
        payload_bytes: bytes behind the header.

    Raises:
        UsageError: a field out of range.
    """

    identity: bytes
    task: int
    width: int
    height: int
    steps: int
    skip_index: int = 2
    original_width: int = 0
    original_height: int = 0
    rate: int = 0
    quality: int = 0
    float_entropy: bool = False
    step_checks: bool = False
    arithmetic: bytes = b""
    seals_means: bool = False
    lanes: int = 0
    zero_map: bool = False
    payload_bytes: int = 0
    probability_bits: int = 12

    def __post_init__(self) -> None:
        if not isinstance(self.identity, bytes) or len(self.identity) != 4:
            raise UsageError("stream header: identity", expected="4 bytes", got=repr(self.identity))
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"stream header: {name}", expected=f"{low} … {high}", got=str(value))
        if (self.original_width == 0) != (self.original_height == 0):
            raise UsageError(
                "stream header: original size",
                expected="both sides or neither",
                got=f"{self.original_width}×{self.original_height}",
            )
        if self.arithmetic and (len(self.arithmetic) != ARITHMETIC_BYTES or not self.float_entropy):
            raise UsageError(
                "stream header: arithmetic",
                expected=f"{ARITHMETIC_BYTES} bytes, of a float entropy path only",
                got=f"{self.arithmetic!r}, {'float' if self.float_entropy else 'integer'} entropy path",
            )
        if self.lanes not in (0, *LANE_COUNTS):
            raise UsageError("stream header: lanes", expected=f"0 or one of {LANE_COUNTS}", got=str(self.lanes))
        if self.probability_bits != 12:
            raise UsageError("stream header: probability bits", expected="12", got=str(self.probability_bits))

    @property
    def resized(self) -> bool:
        """Whether the image was resized, by the bundle's declaration, before the codec saw it."""
        return self.original_width > 0

    @property
    def photo_size(self) -> tuple[int, int]:
        """Height and width of the photo, which the codec saw as it is or resized."""
        return self.original_height or self.height, self.original_width or self.width

    def padded(self, multiple: int = 64) -> tuple[int, int]:
        """(rows, columns) after padding to a multiple: what bounds every array that a decoder will need."""
        return -(-self.height // multiple) * multiple, -(-self.width // multiple) * multiple


def identity_prefix(digest: str | bytes) -> bytes:
    """The 4 bytes of an identity that a stream carries.

    Args:
        digest: the whole SHA-256, as hex text or as bytes (at least 4).

    Raises:
        UsageError: neither.
    """
    try:
        raw = bytes.fromhex(digest) if isinstance(digest, str) else bytes(digest)
    except ValueError as error:
        raise UsageError("identity", expected="a SHA-256 in hex", got=repr(digest)) from error
    if len(raw) < 4:
        raise UsageError("identity", expected="at least 4 bytes", got=str(len(raw)))
    return raw[:4]


def header_start(header: StreamHeader) -> bytes:
    """The bytes before the payload length; the hash over the decoded symbols starts from them."""
    flags = (
        FLAG_FLOAT_ENTROPY * header.float_entropy
        | FLAG_STEP_CHECKS * header.step_checks
        | FLAG_ZERO_MAP * header.zero_map
        | FLAG_RESIZED * header.resized
        | FLAG_RATE * bool(header.rate or header.quality)
        | FLAG_ARITHMETIC * bool(header.arithmetic)
        | FLAG_MEANS * header.seals_means
    )
    profile = header.probability_bits | (header.lanes.bit_length() - 1) << 4
    parts = [
        _FIXED.pack(
            MAGIC,
            VERSION,
            flags,
            profile,
            header.skip_index,
            header.steps,
            header.identity,
            header.task,
            header.width,
            header.height,
        )
    ]
    if header.resized:
        parts.append(_SIZE.pack(header.original_width, header.original_height))
    if flags & FLAG_RATE:
        parts.append(_RATE.pack(header.rate, header.quality))
    parts.append(header.arithmetic)
    return b"".join(parts)


def stream_from_parts(header: StreamHeader, payload: bytes) -> bytes:
    """Puts header, length, checksum and payload together."""
    start = header_start(header) + put_varint(len(payload))
    return start + _CRC.pack(zlib.crc32(payload, zlib.crc32(start))) + payload


def read_header(data: bytes | bytearray | memoryview) -> StreamHeader:
    """Reads the header of a whole stream and checks length and CRC; needs no tables.

    Raises:
        NotAStreamError: empty, or another kind of file.
        StreamVersionError: a version that this reader does not know.
        TruncatedStreamError: fewer bytes than the header or its payload length promise.
        CorruptStreamError: the CRC differs, bytes follow the payload, or a field has a value that no writer gives it.
    """
    return split_stream(data)[0]


def split_stream(data: bytes | bytearray | memoryview) -> tuple[StreamHeader, memoryview]:
    """``read_header`` and the payload, which is a view into ``data``."""
    view = memoryview(data).cast("B")
    stop = _start_size(view)
    length, position = take_varint(view, stop, "the payload length")
    end = position + _CRC.size + length
    if len(view) < end:
        raise TruncatedStreamError(
            "the stream ends too early", expected=f"{end} bytes", got=str(len(view)), hint="fetch it again"
        )
    if len(view) > end:
        raise _corrupt(f"{end} bytes", f"{len(view)}")
    payload = view[position + _CRC.size :]
    (written,) = _CRC.unpack_from(view, position)
    found = zlib.crc32(payload, zlib.crc32(view[:position]))
    if found != written:
        raise _corrupt(f"CRC-32 {written:08x}", f"{found:08x}")
    return _header_from_start(view[:stop], length), payload


def _start_size(view: memoryview) -> int:
    """How many bytes stand before the payload length; all of them are there."""
    if len(view) == 0:
        raise NotAStreamError("the stream is empty", expected="a ptp stream", got="0 bytes", hint="check the file")
    if bytes(view[:2]) != MAGIC[: len(view)]:
        raise NotAStreamError(
            "these bytes are no ptp stream",
            expected=f"a start of {MAGIC!r}",
            got=repr(bytes(view[:2])),
            hint="check the file",
        )
    if len(view) > 2 and view[2] != VERSION:
        raise StreamVersionError(
            "stream of another version", expected=str(VERSION), got=str(view[2]), hint="use a ptp-deploy that knows it"
        )
    size = _FIXED.size
    if len(view) > 3:
        size += _SIZE.size * bool(view[3] & FLAG_RESIZED) + _RATE.size * bool(view[3] & FLAG_RATE)
        size += ARITHMETIC_BYTES * bool(view[3] & FLAG_ARITHMETIC)
    if len(view) < size:
        raise TruncatedStreamError(
            "the stream ends in its header",
            expected=f"at least {size} bytes",
            got=str(len(view)),
            hint="fetch it again",
        )
    return size


def _header_from_start(start: memoryview, length: int) -> StreamHeader:
    """The fields, once the CRC has vouched for them; a forged CRC still gets a typed error."""
    _, _, flags, profile, skip_index, steps, identity, task, width, height = _FIXED.unpack_from(start)
    position = _FIXED.size
    original_width = original_height = rate = quality = 0
    if flags & FLAG_RESIZED:
        original_width, original_height = _SIZE.unpack_from(start, position)
        position += _SIZE.size
    if flags & FLAG_RATE:
        rate, quality = _RATE.unpack_from(start, position)
        position += _RATE.size
    if profile >> 4 not in (3, 4, 5):
        raise _corrupt(f"one of {LANE_COUNTS} lanes", f"2^{profile >> 4}")
    try:
        header = StreamHeader(
            identity=identity,
            task=task,
            width=width,
            height=height,
            steps=steps,
            skip_index=skip_index,
            original_width=original_width,
            original_height=original_height,
            rate=rate,
            quality=quality,
            float_entropy=bool(flags & FLAG_FLOAT_ENTROPY),
            step_checks=bool(flags & FLAG_STEP_CHECKS),
            arithmetic=bytes(start[position:]) if flags & FLAG_ARITHMETIC else b"",
            seals_means=bool(flags & FLAG_MEANS),
            lanes=1 << (profile >> 4),
            zero_map=bool(flags & FLAG_ZERO_MAP),
            payload_bytes=length,
            probability_bits=profile & 15,
        )
    except UsageError as error:
        raise CorruptStreamError(error.message, expected=error.expected, got=error.got) from error
    if header_start(header) != bytes(start):
        raise _corrupt("known flags, each with the fields it announces", f"flags {flags:#04x}")
    return header


def _corrupt(expected: str, got: str) -> CorruptStreamError:
    return CorruptStreamError("the stream is damaged", expected=expected, got=got, hint="fetch it again")
