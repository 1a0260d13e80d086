"""Which compiled loops code the symbols: eight lanes in a vector, or one after another.

Both write and read the same bytes. The scalar kernels run everywhere; they are what the vector kernels are tested
against.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

from numba.core.registry import cpu_target


class Kernels(Enum):
    """AUTO: vectors where the processor has AVX2 (and numba compiles for it), else SCALAR. The others force one kind;
    VECTOR works on any processor, but without AVX2 it is slower than SCALAR."""

    AUTO = "auto"
    SCALAR = "scalar"
    VECTOR = "vector"


@cache
def has_avx2() -> bool:
    """Whether numba compiles for a processor with AVX2: its own settings count, not the processor alone."""
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return "+avx2" in features.split(",")


def use_vectors(kernels: Kernels) -> bool:
    """Whether this choice means the vector kernels here."""
    return has_avx2() if kernels is Kernels.AUTO else kernels is Kernels.VECTOR
