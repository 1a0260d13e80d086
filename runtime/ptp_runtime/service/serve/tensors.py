"""Named tensors of the Open Inference Protocol, and their bytes.

Source: the protocol's *Tensor Data Types*, and Triton's *Binary Tensor Data* extension: numbers row by row and
little-endian, ``BYTES`` as elements of a 4-byte little-endian length and that many bytes each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import RequestError

NUMBERS: dict[str, npt.DTypeLike] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
"""Data types of the protocol that are numbers, with numpy's."""

RANGES = {name: np.iinfo(dtype) for name, dtype in NUMBERS.items() if np.dtype(dtype).kind in "iu"}
"""Least and largest values of the whole numbers among them."""

_LENGTH = 4


@dataclass(frozen=True)
class TensorSpec:
    """What a model takes or gives under a name.

    Attributes:
        name: of the tensor.
        datatype: as in the protocol.
        shape: -1 where any number will do.
        optional: of inputs: may be left out.
        datatypes: of inputs: further data types that are taken.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    datatypes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tensor:
    """A tensor of a request or a response.

    Attributes:
        name: of the tensor.
        datatype: as in the protocol: a key of :data:`NUMBERS`, or ``BYTES``.
        shape: of it.
        values: numbers as an array of that shape; ``BYTES`` as a list of elements, row by row.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: npt.NDArray[Any] | list[bytes]

    @classmethod
    def of_bytes(cls, name: str, elements: Sequence[bytes]) -> Tensor:
        """One ``BYTES`` element for each photo."""
        return cls(name, "BYTES", (len(elements),), list(elements))

    @classmethod
    def of_array(cls, name: str, datatype: str, array: npt.NDArray[Any]) -> Tensor:
        """Numbers."""
        return cls(name, datatype, array.shape, np.ascontiguousarray(array, NUMBERS[datatype]))

    def to_raw(self) -> bytes:
        """The tensor's bytes on the wire."""
        if isinstance(self.values, list):
            return b"".join(len(element).to_bytes(_LENGTH, "little") + element for element in self.values)
        little = self.values.dtype.newbyteorder("<")
        return self.values.astype(little, copy=False).tobytes()


def require_shape(name: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """The shape that a request gives, if it can be one.

    Raises:
        RequestError: no list of whole numbers of 0 and more.
    """
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape):
        raise RequestError(
            f"the input {name!r} has an impossible shape", expected="whole numbers, 0 and more", got=repr(shape)[:80]
        )
    return tuple(shape)


def require_range(name: str, datatype: str, values: Sequence[int]) -> None:
    """Refuse whole numbers that a data type does not hold; some are there.

    Raises:
        RequestError: a value is out of range.
    """
    if not RANGES[datatype].min <= min(values) <= max(values) <= RANGES[datatype].max:
        raise RequestError(f"a value of the input {name!r} is out of range", expected=datatype)


def tensor_from_raw(name: str, datatype: str, shape: tuple[int, ...], raw: bytes | memoryview) -> Tensor:
    """A tensor from its bytes on the wire.

    Raises:
        RequestError: no such data type, or more or fewer bytes than data type and shape need.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _elements(name, memoryview(raw), count))
    if datatype not in NUMBERS:
        raise unknown_datatype(name, datatype)
    dtype = np.dtype(NUMBERS[datatype]).newbyteorder("<")
    if len(raw) != count * dtype.itemsize:
        raise RequestError(
            f"the bytes of the input {name!r} do not fit its shape",
            expected=f"{count * dtype.itemsize} bytes of {datatype} {list(shape)}",
            got=f"{len(raw)} bytes",
        )
    return Tensor(name, datatype, shape, np.frombuffer(raw, dtype).reshape(shape))


def unknown_datatype(name: str, datatype: object) -> RequestError:
    """The error for a data type that the protocol does not have."""
    return RequestError(
        f"the input {name!r} has an unknown data type", expected=", ".join([*NUMBERS, "BYTES"]), got=repr(datatype)[:80]
    )


def _elements(name: str, view: memoryview, count: int) -> list[bytes]:
    found: list[bytes] = []
    position = 0
    while position < len(view):
        start = position + _LENGTH
        position = start + int.from_bytes(view[position:start], "little")
        if start > len(view) or position > len(view):
            raise RequestError(
                f"an element of the input {name!r} ends beyond its bytes",
                expected="a 4-byte little-endian length before each element",
                got=f"element {len(found)} of {len(view)} bytes in all",
            )
        found.append(bytes(view[start:position]))
    if len(found) != count:
        raise RequestError(
            f"the input {name!r} has not as many elements as its shape says", expected=str(count), got=str(len(found))
        )
    return found
