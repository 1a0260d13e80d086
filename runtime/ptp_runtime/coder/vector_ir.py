"""LLVM vectors of eight lanes: the words that the vector kernels are written in.

Numba has no vector types, but an ``intrinsic`` may emit any LLVM instructions. Eight 32-bit lanes fill a register of
AVX2; everything but the permutation is plain LLVM, so nothing else depends on the processor.

Numba's cache does not look at this file: after a change here the ``.nbi`` and ``.nbc`` files of the kernels must go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ptp_runtime.coder.kernel_choice import has_avx2

WIDTH = 8
"""Lanes of a vector."""

I1, I8, I16, I32, I64, F64 = (*(ir.IntType(bits) for bits in (1, 8, 16, 32, 64)), ir.DoubleType())

Value = Any
"""An LLVM value: llvmlite publishes no types."""

_MASKS = range(1 << WIDTH)


def _set_lanes(mask: int) -> list[int]:
    return [lane for lane in range(WIDTH) if mask >> lane & 1]


EXPAND = [[sum(mask >> lower & 1 for lower in range(lane)) % WIDTH for lane in range(WIDTH)] for mask in _MASKS]
"""For each mask of lanes, which word each lane takes when words go to the marked lanes in order."""
PACK_FIRST = [(_set_lanes(mask) + [0] * WIDTH)[:WIDTH] for mask in _MASKS]
"""For each mask, which lane each place takes when the marked lanes move together to the front."""
PACK_LAST = [([0] * WIDTH + _set_lanes(mask))[-WIDTH:] for mask in _MASKS]
"""The same, to the back."""


def vector(element: Value) -> Value:
    """The type of eight elements."""
    return ir.VectorType(element, WIDTH)


def constant(element: Value, values: int | Sequence[int]) -> Value:
    """A constant vector; one number stands for eight equal ones."""
    return ir.Constant(vector(element), [values] * WIDTH if isinstance(values, int) else list(values))


def splat(builder: Value, scalar: Value) -> Value:
    """Eight copies of a scalar."""
    one = builder.insert_element(ir.Constant(vector(scalar.type), ir.Undefined), scalar, I32(0))
    return builder.shuffle_vector(one, one, constant(I32, 0))


def data(context: Value, builder: Value, kind: Value, array: Value) -> Value:
    """Pointer to the first element of an array argument of numba's type ``kind``."""
    return context.make_array(kind)(context, builder, value=array).data


def load(builder: Value, element: Value, pointer: Value, at: Value) -> Value:
    """Eight elements from ``pointer[at]`` on."""
    place = builder.bitcast(builder.gep(pointer, [at]), vector(element).as_pointer())
    return builder.load(place, align=element.width // 8)


def load_spread(builder: Value, element: Value, pointer: Value, at: Value, stride: int, odd: Value) -> Value:
    """Eight elements from ``pointer[at]`` on, next to each other, or for stride 2 every second one, from ``odd`` on."""
    if stride == 1:
        return load(builder, element, pointer, at)
    pair = ir.IntType(2 * element.width)
    place = builder.bitcast(builder.gep(pointer, [at]), vector(pair).as_pointer())
    pairs = builder.load(place, align=element.width // 8)
    by = builder.mul(odd, I64(element.width))
    by = by if pair.width == 64 else builder.trunc(by, pair)
    return builder.trunc(builder.lshr(pairs, splat(builder, by)), vector(element))


def store(builder: Value, values: Value, pointer: Value, at: Value) -> None:
    """Writes eight elements to ``pointer[at]`` and behind."""
    place = builder.bitcast(builder.gep(pointer, [at]), values.type.as_pointer())
    builder.store(values, place, align=values.type.element.width // 8)


def look_up(builder: Value, pointer: Value, places: Value) -> Value:
    """``pointer[place]`` for eight unsigned 32-bit places.

    Eight loads: as fast as a gather instruction on AMD's processors, and faster on Intel's since their microcode was
    patched.
    """
    found = ir.Constant(vector(I32), ir.Undefined)
    for lane in range(WIDTH):
        place = builder.zext(builder.extract_element(places, I32(lane)), I64)
        found = builder.insert_element(found, builder.load(builder.gep(pointer, [place])), I32(lane))
    return found


def mask_bits(builder: Value, mask: Value) -> Value:
    """A vector of conditions as the bits of an i64."""
    return builder.zext(builder.bitcast(mask, I8), I64)


def count_bits(builder: Value, bits: Value) -> Value:
    """How many bits of an i64 are set."""
    return builder.call(_declared(builder, "llvm.ctpop.i64", I64, [I64]), [bits])


def permutation(builder: Value, table: Sequence[Sequence[int]], name: str, bits: Value) -> Value:
    """Row ``bits`` of a table of permutations, which becomes a constant of the compiled module."""
    rows = [[place for row in table for place in row]]
    pointer = cgutils.global_constant(
        builder, f"ptp.{name}", ir.Constant(ir.ArrayType(I32, len(rows[0])), [I32(place) for place in rows[0]])
    )
    first = builder.bitcast(pointer, I32.as_pointer())
    return load(builder, I32, first, builder.mul(bits, I64(WIDTH)))


def permute(builder: Value, values: Value, places: Value) -> Value:
    """``values[places[lane]]`` in each lane: one instruction of AVX2, else lane by lane.

    (Where AVX2 is missing the instruction must not reach LLVM, which would end the process.)
    """
    eight = vector(I32)
    if not has_avx2():
        moved = ir.Constant(eight, ir.Undefined)
        for lane in range(WIDTH):
            value = builder.extract_element(values, builder.extract_element(places, I32(lane)))
            moved = builder.insert_element(moved, value, I32(lane))
        return moved
    return builder.call(_declared(builder, "llvm.x86.avx2.permd", eight, [eight, eight]), [values, places])


def any_bit(builder: Value, values: Value) -> Value:
    """The union of the bits of eight 32-bit numbers, as an i64."""
    name = "llvm.vector.reduce.or.v8i32"
    return builder.zext(builder.call(_declared(builder, name, I32, [vector(I32)]), [values]), I64)


def _declared(builder: Value, name: str, result: Value, arguments: list[Value]) -> Value:
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


class Loop:
    """A counted loop with values that are carried from round to round.

    Args:
        builder: stands where the loop begins.
        carried: what each carried value is before the first round; the first one is the counter.

    Use: read ``values``, call ``begin(condition)`` for the test in front of each round, emit the round, call
    ``close(next values)``; the builder then stands behind the loop, and ``values`` hold what came out of it.
    """

    def __init__(self, builder: Value, carried: Sequence[Value]) -> None:
        self._builder = builder
        before = builder.block
        self._head = builder.append_basic_block("head")
        builder.branch(self._head)
        builder.position_at_end(self._head)
        self.values = [builder.phi(value.type) for value in carried]
        for phi, value in zip(self.values, carried, strict=True):
            phi.add_incoming(value, before)

    def begin(self, goes_on: Value) -> None:
        """Starts the round; ``goes_on`` was computed in front of it."""
        body, self._behind = (self._builder.append_basic_block(name) for name in ("round", "behind"))
        self._builder.cbranch(goes_on, body, self._behind)
        self._builder.position_at_end(body)

    def close(self, carried: Sequence[Value]) -> None:
        """Ends the round."""
        for phi, value in zip(self.values, carried, strict=True):
            phi.add_incoming(value, self._builder.block)
        self._builder.branch(self._head)
        self._builder.position_at_end(self._behind)
