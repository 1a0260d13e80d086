"""How the kernels' signatures are written.

Only what runs while a kernel is declared lives here. What gets compiled into kernels (constants, inner functions) stays
in the kernels' own modules: numba's cache looks at the file of a kernel alone, and would keep a stale copy of anything
that changed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit, types

I8 = npt.NDArray[np.int8]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Signed = npt.NDArray[np.int16] | npt.NDArray[np.int32]

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def kernel(*signatures: types.Type) -> Callable[[_Kernel], _Kernel]:
    """Compiles a function when its module is imported, or takes it from the cache; it releases the GIL."""
    return cast("Callable[[_Kernel], _Kernel]", njit(list(signatures), cache=True, nogil=True, error_model="numpy"))


def read(kind: types.Type) -> types.Array:
    """A row that the kernel only reads; read-only arrays are accepted too."""
    return types.Array(kind, 1, "C", readonly=True)


def write(kind: types.Type) -> types.Array:
    """A row that the kernel fills."""
    return types.Array(kind, 1, "C")


def write_rows(kind: types.Type) -> types.Array:
    """An array [rows, columns] that the kernel fills."""
    return types.Array(kind, 2, "C")
