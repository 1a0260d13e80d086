"""Named arrays over a pipe, for a backend in a process of its own: no pickling, every length looked at.

A frame is a u32 length, that many bytes of JSON, and the arrays' bytes in C order one after the other. The JSON holds
``arrays``: a list of name, dtype and shape; and whatever else the two sides say to each other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")


def send(stream: BinaryIO, message: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one frame."""
    listed = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    head = json.dumps({**message, "arrays": listed}).encode()
    stream.write(_LENGTH.pack(len(head)) + head)
    for array in arrays.values():
        stream.write(np.ascontiguousarray(array).tobytes())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read one frame.

    Raises:
        EOFError: the other side closed the pipe.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    message = json.loads(_exactly(stream, length))
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, shape in message.pop("arrays"):
        kind = np.dtype(dtype)
        data = _exactly(stream, kind.itemsize * int(np.prod(shape, dtype=np.int64)))
        arrays[name] = np.frombuffer(bytearray(data), kind).reshape(shape)
    return message, arrays


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError(f"the pipe ended after {len(data)} of {size} bytes")
    return data
