"""How kernels are declared, and when they are compiled.

A kernel takes about 5 ms to come out of numba's cache, and a second to be compiled. So nothing happens when a module is
imported; ``ready`` brings in what a coder is going to call, once in a process.

Only what runs while a kernel is declared lives here. Numba's cache looks at the file of a kernel alone: after a change
to what other files give it (``vector_ir``, the inner functions that the vector kernels share with the scalar ones) the
``.nbi`` and ``.nbc`` files must go. An installation is not concerned: all its files are as new as each other.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
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


_wanted: dict[int, tuple[types.Type, ...]] = {}
_ready: set[tuple[int, ...]] = set()
_lock = Lock()


def kernel(*signatures: types.Type, brief: bool = False) -> Callable[[_Kernel], _Kernel]:
    """Declares a function that Python calls after it was made ``ready``; it is cached on disk.

    Args:
        brief: it takes a few microseconds and keeps the GIL, which would cost more to get back; others release it.
    """

    def declare(function: _Kernel) -> _Kernel:
        try:
            dispatcher = njit(cache=True, nogil=not brief, error_model="numpy")(function)
        except RuntimeError:  # no folder for the cache: each process compiles, and `ptp doctor` says why
            dispatcher = njit(nogil=not brief, error_model="numpy")(function)
        _wanted[id(dispatcher)] = signatures
        return cast("_Kernel", dispatcher)

    return declare


def inner(function: _Kernel) -> _Kernel:
    """Declares a function that only kernels call: it is compiled into each of them."""
    return cast("_Kernel", njit(nogil=True, error_model="numpy")(function))


def ready(*kernels: Any) -> None:
    """Compiles kernels for the types they were declared with, or takes them from the cache; for no others ever."""
    names = tuple(map(id, kernels))
    if names in _ready:
        return
    with _lock:
        for dispatcher in kernels:
            for signature in _wanted.get(id(dispatcher), ()):
                dispatcher.compile(signature)
                _check_return(dispatcher, signature)
            dispatcher.disable_compile()
            _wanted.pop(id(dispatcher), None)
        _ready.add(names)


def _check_return(dispatcher: Any, signature: Any) -> None:
    """A kernel that another one called was compiled then, with the type of its return as numba infers it: for the sum
    of int64 and uint64 that is float64. Such a kernel must say its types itself, whichever is compiled first."""
    compiled = dispatcher.overloads[signature.args].signature.return_type
    if compiled != signature.return_type:
        raise TypeError(f"{dispatcher.__name__} returns {compiled}, but was declared to return {signature.return_type}")


def read(kind: types.Type) -> types.Array:
    """A row that the kernel only reads; read-only arrays are accepted too."""
    return types.Array(kind, 1, "C", readonly=True)


def write(kind: types.Type) -> types.Array:
    """A row that the kernel fills."""
    return types.Array(kind, 1, "C")


def read_rows(kind: types.Type) -> types.Array:
    """An array [rows, columns] that the kernel only reads."""
    return types.Array(kind, 2, "C", readonly=True)


def write_rows(kind: types.Type) -> types.Array:
    """An array [rows, columns] that the kernel fills."""
    return types.Array(kind, 2, "C")
