"""Integer probability tables: what the entropy coder knows about the symbols.

A *table* is a distribution over a run of consecutive integers ``offset … offset + size - 1`` plus one **escape**, which
stands for every other integer. Probabilities are frequencies that sum to exactly 4096 (12 bits) and are at least 1, so
each symbol of the alphabet can be coded. An alphabet has at most 256 members, escape included: then a member, its
frequency and its position fit one 32-bit word of the decode look-up.

*Scale tables* (64 of them) are zero-mean Gaussians of log-spaced standard deviations; a latent symbol y uses the table
that its scale index names. *Hyper tables* (one a channel of z) are the factorised prior; a symbol of channel c uses
table ``scale_count + c``.

Tables are made once, when a bundle is exported, from floating point; they travel as integers in ``tables.bin``, are
hashed into the identity of every stream, and nothing here evaluates a probability when they are read. The file format
is described in ``docs/bitstream-format.md``.

Source: Duda, "Asymmetric numeral systems" (arXiv 1311.2540) for the use of such tables; the 64 scales are those of
Minnen et al., "Joint autoregressive and hierarchical priors" (arXiv 1809.02736), as compressai sets them.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import BundleError, UsageError

__all__ = ["PROBABILITY_BITS", "SCALES", "Table", "Tables", "gaussian_tables", "table_from_pmf"]

PROBABILITY_BITS = 12
TOTAL = 1 << PROBABILITY_BITS
MAX_REGULAR = 255
"""Members of an alphabet without its escape: 255, so that the position of a member is one byte."""
MAX_ESCAPE_ORDER = 15
MAX_SCALE_TABLES = 256
"""A scale index is one byte."""
MAX_HYPER_TABLES = 4096
"""Bounds the decode look-up (16 KiB a table) of a file that nobody vouches for."""
SYMBOL_MIN, SYMBOL_MAX = -32768, 32767

SCALES: tuple[float, ...] = tuple(
    math.exp(math.log(0.11) + (math.log(256.0) - math.log(0.11)) * level / 63) for level in range(64)
)
"""The 64 standard deviations, log-spaced from 0.11 to 256."""

_Scalar = TypeVar("_Scalar", bound=np.generic)

_MAGIC = b"PTPT"
_VERSION = 1
_HEAD = struct.Struct("<4sBBHH")
_RECORD = struct.Struct("<hBB")


@dataclass(frozen=True)
class Table:
    """One distribution.

    Attributes:
        offset: the smallest regular integer.
        frequencies: of ``offset, offset + 1, …`` and, last, of the escape; each 1 … 4095, sum 4096.
        escape_order: order of the Exp-Golomb code that carries the distance of an escaped integer (0 … 15).

    Raises:
        UsageError: the numbers are no such table.
    """

    offset: int
    frequencies: tuple[int, ...]
    escape_order: int = 0

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise UsageError("not a probability table", expected=fault[0], got=fault[1])

    @property
    def size(self) -> int:
        """How many integers are regular, that is not escaped."""
        return len(self.frequencies) - 1


def _fault(table: Table) -> tuple[str, str] | None:
    size = table.size
    if not 1 <= size <= MAX_REGULAR:
        return f"1 … {MAX_REGULAR} regular symbols", str(size)
    if table.offset < SYMBOL_MIN or table.offset + size - 1 > SYMBOL_MAX:
        return "symbols within 16 bits", f"{table.offset} … {table.offset + size - 1}"
    if not 0 <= table.escape_order <= MAX_ESCAPE_ORDER:
        return f"an escape order of 0 … {MAX_ESCAPE_ORDER}", str(table.escape_order)
    if min(table.frequencies) < 1:
        return "frequencies of at least 1", str(min(table.frequencies))
    if sum(table.frequencies) != TOTAL:
        return f"frequencies that sum to {TOTAL}", str(sum(table.frequencies))
    return None


@dataclass(frozen=True)
class Tables:
    """All tables of a bundle; immutable, compared and hashed by content.

    Attributes:
        scale_tables: one a scale index.
        hyper_tables: one a channel of z.

    The array properties are what the kernels read; table ``t`` is scale table ``t`` or hyper table ``t - scale_count``.
    """

    scale_tables: tuple[Table, ...]
    hyper_tables: tuple[Table, ...]

    @classmethod
    def build(cls, scale_tables: Sequence[Table], hyper_tables: Sequence[Table]) -> Tables:
        """Puts tables together.

        Raises:
            UsageError: no scale table, or too many of either.
        """
        if not 1 <= len(scale_tables) <= MAX_SCALE_TABLES:
            raise UsageError("scale tables", expected=f"1 … {MAX_SCALE_TABLES}", got=str(len(scale_tables)))
        if len(hyper_tables) > MAX_HYPER_TABLES:
            raise UsageError("hyper tables", expected=f"at most {MAX_HYPER_TABLES}", got=str(len(hyper_tables)))
        return cls(tuple(scale_tables), tuple(hyper_tables))

    @property
    def probability_bits(self) -> int:
        """Always 12 in this version."""
        return PROBABILITY_BITS

    @property
    def scale_count(self) -> int:
        """Number of scale tables; scale indices are below it."""
        return len(self.scale_tables)

    @property
    def hyper_count(self) -> int:
        """Number of channels of z."""
        return len(self.hyper_tables)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of ``to_bytes()``."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The content of ``tables.bin``."""
        parts = [_HEAD.pack(_MAGIC, _VERSION, PROBABILITY_BITS, self.scale_count, self.hyper_count)]
        for table in self._all:
            parts.append(_RECORD.pack(table.offset, table.size, table.escape_order))
            parts.append(struct.pack(f"<{len(table.frequencies)}H", *table.frequencies))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Tables:
        """Reads ``tables.bin`` and trusts nothing in it.

        Raises:
            BundleError: another format or version, fewer or more bytes than promised, or a table that is none.
        """
        view = bytes(data)
        if len(view) < _HEAD.size:
            raise _broken(f"at least {_HEAD.size} bytes", str(len(view)))
        magic, version, bits, scale_count, hyper_count = _HEAD.unpack_from(view)
        if magic != _MAGIC:
            raise _broken(f"a file that starts with {_MAGIC!r}", repr(magic))
        if version != _VERSION:
            raise _broken(f"version {_VERSION}", str(version))
        if bits != PROBABILITY_BITS:
            raise _broken(f"{PROBABILITY_BITS}-bit probabilities", f"{bits} bits")
        if not 1 <= scale_count <= MAX_SCALE_TABLES or hyper_count > MAX_HYPER_TABLES:
            raise _broken(
                f"1 … {MAX_SCALE_TABLES} scale tables and at most {MAX_HYPER_TABLES} hyper tables",
                f"{scale_count} and {hyper_count}",
            )
        position, tables = _HEAD.size, []
        for number in range(scale_count + hyper_count):
            table, position = _read_table(view, position, number)
            tables.append(table)
        if position != len(view):
            raise _broken(f"{position} bytes", f"{len(view)}")
        return cls(tuple(tables[:scale_count]), tuple(tables[scale_count:]))

    @property
    def _all(self) -> tuple[Table, ...]:
        return self.scale_tables + self.hyper_tables

    @cached_property
    def offsets(self) -> npt.NDArray[np.int32]:
        """int32 [T]: smallest regular integer of each table."""
        return _frozen(np.array([table.offset for table in self._all], np.int32))

    @cached_property
    def sizes(self) -> npt.NDArray[np.int32]:
        """int32 [T]: number of regular integers, which is also the position of the escape in the alphabet."""
        return _frozen(np.array([table.size for table in self._all], np.int32))

    @cached_property
    def escape_orders(self) -> npt.NDArray[np.int32]:
        """int32 [T]: Exp-Golomb order of each table's escape."""
        return _frozen(np.array([table.escape_order for table in self._all], np.int32))

    @cached_property
    def encode_entries(self) -> npt.NDArray[np.uint32]:
        """uint32 [T·256]: at ``256·t + k`` the frequency of member k (bits 0 … 15) and of those before it (16 … 31)."""
        entries = np.zeros((len(self._all), MAX_REGULAR + 1), np.uint32)
        for row, table in zip(entries, self._all, strict=True):
            frequencies = np.array(table.frequencies, np.uint32)
            starts = np.cumsum(frequencies, dtype=np.uint32) - frequencies
            row[: frequencies.size] = frequencies | (starts << np.uint32(16))
        return _frozen(entries.reshape(-1))

    @cached_property
    def decode_entries(self) -> npt.NDArray[np.uint32]:
        """uint32 [T·4096]: at ``4096·t + slot`` the member (bits 0 … 7), slot - start (8 … 19), frequency (20 … 31)."""
        counts = np.concatenate([np.array(table.frequencies, np.uint32) for table in self._all])
        members = np.concatenate([np.arange(len(table.frequencies), dtype=np.uint32) for table in self._all])
        ends = np.cumsum(counts, dtype=np.uint32)
        within = np.arange(ends[-1], dtype=np.uint32) - np.repeat(ends - counts, counts)
        return _frozen(np.repeat(members | (counts << np.uint32(20)), counts) | (within << np.uint32(8)))


def _frozen(array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    array.flags.writeable = False
    return array


def _broken(expected: str, got: str) -> BundleError:
    return BundleError("tables.bin cannot be read", expected=expected, got=got, hint="export the bundle again")


def _read_table(view: bytes, position: int, number: int) -> tuple[Table, int]:
    end = position + _RECORD.size
    if end > len(view):
        raise _broken(f"table {number} at byte {position}", f"a file of {len(view)} bytes")
    offset, size, order = _RECORD.unpack_from(view, position)
    position, end = end, end + 2 * (size + 1)
    if end > len(view):
        raise _broken(f"{size + 1} frequencies of table {number}", f"a file of {len(view)} bytes")
    try:
        return Table(offset, struct.unpack_from(f"<{size + 1}H", view, position), order), end
    except UsageError as error:
        raise _broken(f"table {number} with {error.expected}", error.got) from error


def gaussian_tables(scales: Sequence[float] = SCALES) -> tuple[Table, ...]:
    """Tables of zero-mean Gaussians that were rounded to integers.

    The regular integers reach out to where both tails together hold less than 2^-13, but at least ±1 and at most ±127;
    the escape takes the rest. Export-time only: it evaluates erfc, whose last bit may differ between machines, which is
    why the result and not the recipe is shipped.

    Args:
        scales: standard deviations, each above 0.

    Raises:
        UsageError: a scale that is not a positive finite number.
    """
    return tuple(_gaussian_table(scale) for scale in scales)


def _gaussian_table(scale: float) -> Table:
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError("scale of a Gaussian", expected="a positive finite number", got=str(scale))

    def beyond(edge: float) -> float:
        return 0.5 * math.erfc(edge / (scale * math.sqrt(2)))

    reach = 1
    while reach < MAX_REGULAR // 2 and 2 * beyond(reach + 0.5) > 2.0**-13:
        reach += 1
    half = [beyond(v - 0.5) - beyond(v + 0.5) for v in range(1, reach + 1)]
    pmf = [*reversed(half), 1 - 2 * beyond(0.5), *half]
    stop = reach + max(2, math.ceil(12 * scale))
    distances = [beyond(v - 0.5) - beyond(v + 0.5) for v in range(reach + 1, stop)]
    order = min(range(MAX_ESCAPE_ORDER + 1), key=lambda k: (_escape_bits(distances, k), k))
    return Table(-reach, _quantise([*pmf, 2 * beyond(reach + 0.5)]), order)


def _escape_bits(distances: Sequence[float], order: int) -> float:
    return sum(p * (2 * ((r >> order) + 1).bit_length() + order) for r, p in enumerate(distances))


def table_from_pmf(pmf: npt.ArrayLike, offset: int, escape_order: int = 0) -> Table:
    """The table of a channel of z.

    The mass that ``pmf`` lacks to 1 goes to the escape. Edges that hold less than 2^-15 each, and whatever does not fit
    255 integers around the middle, are left to the escape as well. Export-time only.

    Args:
        pmf: probabilities of ``offset, offset + 1, …``; at least one, none negative, sum at most 1 (+1e-3).
        offset: the integer that ``pmf[0]`` belongs to.
        escape_order: Exp-Golomb order of the escape.

    Raises:
        UsageError: ``pmf`` is no such thing.
    """
    mass = np.asarray(pmf, np.float64)
    if mass.ndim != 1 or mass.size == 0 or not np.all(np.isfinite(mass)) or bool(np.any(mass < 0)):
        raise UsageError("probabilities of a table", expected="a row of finite numbers >= 0", got=f"shape {mass.shape}")
    total = float(mass.sum())
    if total > 1 + 1e-3 or total <= 0:
        raise UsageError("probabilities of a table", expected="a sum above 0 and up to 1", got=f"{total:g}")
    first, last = 0, mass.size - 1
    while first < last and (min(mass[first], mass[last]) < 2.0**-15 or last - first >= MAX_REGULAR):
        if mass[first] < mass[last]:
            first += 1
        else:
            last -= 1
    kept = mass[first : last + 1].tolist()
    return Table(offset + first, _quantise([*kept, max(0.0, 1.0 - sum(kept))]), escape_order)


def _quantise(pmf: Sequence[float]) -> tuple[int, ...]:
    """Frequencies >= 1 of sum 4096 that cost the fewest bits on average.

    The cost -Σ p·log2 f is convex in each f, so single steps that each take the best gain (or the least loss) reach the
    optimum from the rounded-down start. Ties go to the member nearest the front.
    """
    frequencies = [max(1, math.floor(p * TOTAL)) for p in pmf]
    short = TOTAL - sum(frequencies)
    step = 1 if short > 0 else -1

    def price(member: int) -> float:
        f = frequencies[member]
        if step < 0 and f == 1:
            return math.inf
        return -step * pmf[member] * abs(math.log2((f + step) / f))

    heap = [(price(member), member) for member in range(len(pmf))]
    heapq.heapify(heap)
    for _ in range(abs(short)):
        member = heap[0][1]
        frequencies[member] += step
        heapq.heapreplace(heap, (price(member), member))
    return tuple(frequencies)
