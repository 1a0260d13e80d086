"""Exact interval arithmetic on the tensors of a program: channel by channel, in whole numbers.

A tensor's values are whole numbers of 2^-grid between two bounds. FP32 adds and multiplies them without rounding as
long as every partial sum, in whatever order, stays below 2^24 of these units; that is what is checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.precision import ACCUMULATOR_LIMIT

Integers = NDArray[np.int64]
#: Significant bits of a TF32 operand; whole numbers up to 2^11 have no more. FP16 has the same.
OPERAND_BITS = 11
#: Magnitude of whole numbers that nothing is known of.
UNKNOWN = 2**40
#: Finer grids than this could leave the normal numbers of FP32.
_FINEST_GRID = 100


class NotProvedError(ValueError):
    """An operation that cannot be shown exact; ``channel`` and ``bound`` where an accumulator is the reason."""

    def __init__(self, message: str, channel: int = -1, bound: int = 0) -> None:
        self.channel, self.bound = channel, bound
        super().__init__(message)


@dataclass(frozen=True)
class Bounds:
    """What is known of one tensor.

    Attributes:
        low, high: smallest and largest value in units of 2^-grid, int64 [C].
        grid: int64 [C].
        partial: largest magnitude of any partial sum on the way to the value, in the same units, int64 [C].
        tf32, fp16: whether the operands of the convolutions that it is the sum of are exact in these formats.
    """

    low: Integers
    high: Integers
    grid: Integers
    partial: Integers
    tf32: bool = True
    fp16: bool = True

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return not self.grid.any()


def interval(low: Integers, high: Integers) -> Bounds:
    """Whole numbers that are stored, not being summed."""
    return Bounds(low, high, np.zeros_like(low), np.maximum(np.abs(low), np.abs(high)))


def convolved(x: Bounds, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Bounds:
    """A convolution of whole numbers, with zeros around them."""
    _require_known(x)
    if not x.whole:
        raise NotProvedError("it multiplies numbers that are not whole")
    if weight.shape[1] != len(x.low):
        raise NotProvedError(f"its weights are for {weight.shape[1]} channels and its input has {len(x.low)}")
    flat = np.concatenate([weight.reshape(len(weight), -1), bias[:, None]], 1)
    grid = np.maximum(-_lowest_bit(flat).min(1), 0)
    if grid.max() > _FINEST_GRID:
        raise NotProvedError(f"its weights are multiples of 2^-{grid.max()}; nothing that small is exact")
    units = np.ldexp(flat.astype(np.float64), grid.astype(np.int32)[:, None])
    if (np.abs(units) >= ACCUMULATOR_LIMIT).any():
        channel = int(np.abs(units).max(1).argmax())
        raise NotProvedError("a weight alone passes the limit", channel, int(np.abs(units[channel]).max()))
    signed, offset = units[:, :-1].astype(np.int64).reshape(weight.shape), units[:, -1].astype(np.int64)
    if weight[0].size * ACCUMULATOR_LIMIT * int(x.partial.max()) >= 2**62:
        raise NotProvedError("it is too wide to be checked in 64 bits")
    low, high = np.minimum(x.low, 0)[None, :, None, None], np.maximum(x.high, 0)[None, :, None, None]
    positive, negative = np.maximum(signed, 0), np.minimum(signed, 0)
    smallest = (positive * low + negative * high).sum((1, 2, 3)) + offset
    largest = (positive * high + negative * low).sum((1, 2, 3)) + offset
    partial = (np.abs(signed) * np.maximum(-low, high)).sum((1, 2, 3)) + np.abs(offset)
    few = x.partial.max() <= 2**OPERAND_BITS
    out = Bounds(
        smallest,
        largest,
        grid.astype(np.int64),
        partial,
        tf32=bool(few and (_significant(signed) < 2**OPERAND_BITS).all()),
        fp16=bool(few and _in_fp16(weight)),
    )
    return _held(out)


def added(a: Bounds, b: Bounds) -> Bounds:
    """A sum, each of whose terms may still be a sum in progress."""
    _require_known(a)
    _require_known(b)
    if a.low.shape != b.low.shape:
        raise NotProvedError(f"it adds {len(a.low)} channels to {len(b.low)}")
    grid = np.maximum(a.grid, b.grid)
    if (grid - np.minimum(a.grid, b.grid) > 2 * OPERAND_BITS).any():
        raise NotProvedError("it adds numbers of grids too far apart")
    a, b = (
        replace(x, **{name: getattr(x, name) << (grid - x.grid) for name in ("low", "high", "partial")}) for x in (a, b)
    )
    out = Bounds(a.low + b.low, a.high + b.high, grid, a.partial + b.partial, a.tf32 and b.tf32, a.fp16 and b.fp16)
    return _held(out)


def floored(x: Bounds) -> Bounds:
    """The largest whole numbers not above."""
    return interval(x.low >> x.grid, x.high >> x.grid)


def clipped(x: Bounds, low: int, high: int) -> Bounds:
    """Whole numbers brought between two others."""
    if not x.whole:
        raise NotProvedError("it clips numbers that are not whole")
    return interval(x.low.clip(low, high), x.high.clip(low, high))


def scaled(x: Bounds, factor: NDArray[np.float32]) -> Bounds:
    """Times a power of two, at most 1, of its own for each channel."""
    mantissa, exponent = np.frexp(factor)
    if factor.shape != x.low.shape:
        raise NotProvedError(f"it multiplies {len(x.low)} channels by {len(factor)} factors")
    if (mantissa != 0.5).any() or (exponent > 1).any() or (exponent <= -_FINEST_GRID).any():
        raise NotProvedError("it multiplies by numbers that are no powers of two from 1 down")
    return replace(x, grid=x.grid + 1 - exponent)


def shuffled(x: Bounds) -> Bounds:
    """Four channels become one, four times as large."""
    if not x.whole or len(x.low) % 4:
        raise NotProvedError("it shuffles channels that are not whole numbers, or not a multiple of four")
    return interval(x.low.reshape(-1, 4).min(1), x.high.reshape(-1, 4).max(1))


def joined(parts: Sequence[Bounds]) -> Bounds:
    """Along channels."""
    low, high, grid, partial = (
        np.concatenate([getattr(x, name) for x in parts]) for name in ("low", "high", "grid", "partial")
    )
    return Bounds(low, high, grid, partial, all(x.tf32 for x in parts), all(x.fp16 for x in parts))


def chosen(x: Bounds, first: int, last: int) -> Bounds:
    """Some channels."""
    if last > len(x.low):
        raise NotProvedError(f"it reads channel {last - 1} of {len(x.low)}")
    return replace(x, **{name: getattr(x, name)[first:last] for name in ("low", "high", "grid", "partial")})


def _require_known(x: Bounds) -> None:
    if x.partial.max() >= ACCUMULATOR_LIMIT:
        raise NotProvedError("it computes with numbers of any size; they must meet a Clip first")


def _held(x: Bounds) -> Bounds:
    """The same, if FP32 holds every partial sum."""
    channel = int(x.partial.argmax())
    if x.partial[channel] >= ACCUMULATOR_LIMIT:
        raise NotProvedError("an accumulator passes the limit", channel, int(x.partial[channel]))
    return x


def _lowest_bit(x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Exponent of the lowest set bit of each number; 0 for zeros."""
    mantissa, exponent = np.frexp(x)
    digits = np.ldexp(mantissa, 24).astype(np.int64)
    lowest = digits & -digits
    position = np.log2(np.where(lowest == 0, 1, lowest)).astype(np.int64)
    return np.asarray(np.where(digits == 0, 0, exponent - 24 + position))


def _in_fp16(x: NDArray[np.float32]) -> bool:
    """Whether all are finite FP16 numbers."""
    largest = float(np.finfo(np.float16).max)
    return bool((np.abs(x) <= largest).all() and (x.astype(np.float16) == x).all())


def _significant(x: Integers) -> Integers:
    """Magnitudes without their trailing zero bits."""
    lowest = np.where(x == 0, 1, x & -x)
    return np.asarray(np.abs(x) // lowest)
