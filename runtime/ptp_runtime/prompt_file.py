"""A task's prompt as a file: the weights that one graph of a shared bundle takes as inputs.

The file is a piece of an ONNX model that holds nothing but ``graph.initializer``. Protobuf joins two messages whose
bytes stand behind one another, so that the graph's file followed by its prompt's file is the whole ONNX file of the
task, with the prompt as default values; and a reader without onnx needs to know four fields only. Float32, raw data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ptp_runtime.bitstream.varint import put_varint, take_varint
from ptp_runtime.errors import BundleError, StreamError

Tensors = dict[str, NDArray[np.float32]]

PROMPT_LIMIT = 64 << 20
"""Largest prompt file that is read, bytes: a real one has some hundred kB."""
#: Field numbers of onnx.proto: ModelProto, GraphProto, TensorProto.
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
_VARINT, _BYTES = 0, 2
_FLOAT = 1
_MOST_AXES = 8


def prompt_to_bytes(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The file of these tensors, in this order."""

    def field(number: int, content: bytes) -> bytes:
        return put_varint(number << 3 | _BYTES) + put_varint(len(content)) + content

    def tensor(name: str, values: NDArray[np.float32]) -> bytes:
        dims = b"".join(put_varint(_DIMS << 3 | _VARINT) + put_varint(length) for length in values.shape)
        kind = put_varint(_DATA_TYPE << 3 | _VARINT) + put_varint(_FLOAT)
        raw = np.ascontiguousarray(values, "<f4").tobytes()
        return dims + kind + field(_NAME, name.encode()) + field(_RAW_DATA, raw)

    parts = (field(_INITIALIZER, tensor(name, values)) for name, values in tensors.items())
    return field(_GRAPH, b"".join(parts))


def prompt_from_bytes(data: bytes, file: str) -> Tensors:
    """Read a prompt.

    Args:
        data: the file's bytes.
        file: its name, for messages.

    Raises:
        BundleError: it is no prompt, or a damaged one.
    """
    try:
        return dict(_tensors(memoryview(data)))
    except (_DamageError, StreamError, UnicodeDecodeError, OverflowError) as error:
        raise BundleError(
            f"{file} is no prompt of a task",
            expected="float32 tensors as ptp-export writes them",
            got=str(error),
            hint="copy the bundle again, or export it again",
        ) from error


class _DamageError(Exception):
    """What is wrong with the bytes."""


def _tensors(data: memoryview) -> Iterator[tuple[str, NDArray[np.float32]]]:
    graphs = list(_fields(data))
    if len(graphs) != 1 or graphs[0][0] != _GRAPH or isinstance(graphs[0][1], int):
        raise _DamageError("no piece of a graph, or several")
    seen = set()
    for number, content in _fields(graphs[0][1]):
        if number != _INITIALIZER or isinstance(content, int):
            raise _DamageError(f"field {number} of the graph")
        name, values = _tensor(content)
        if name in seen:
            raise _DamageError(f"the tensor {name!r} twice")
        seen.add(name)
        yield name, values
    if not seen:
        raise _DamageError("no tensor")


def _tensor(data: memoryview) -> tuple[str, NDArray[np.float32]]:
    dims: list[int] = []
    found: dict[int, int | memoryview] = {}
    for number, content in _fields(data):
        if number == _DIMS and isinstance(content, int) and len(dims) < _MOST_AXES:
            dims.append(content)
        elif number in (_DATA_TYPE, _NAME, _RAW_DATA) and number not in found:
            found[number] = content
        else:
            raise _DamageError(f"field {number} of a tensor")
    name, raw = found.get(_NAME), found.get(_RAW_DATA)
    if found.get(_DATA_TYPE) != _FLOAT or not isinstance(name, memoryview) or not isinstance(raw, memoryview):
        raise _DamageError("a tensor without a name or values, or of another type")
    count = 1
    for length in dims:
        count *= length
    if count == 0 or 4 * count != len(raw):
        raise _DamageError(f"{len(raw)} bytes for {' x '.join(map(str, dims))} values")
    values = np.frombuffer(raw, "<f4").astype(np.float32).reshape(dims)
    if not np.isfinite(values).all():
        raise _DamageError("values that are not finite")
    return bytes(name).decode(), values


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and content of each field: a whole number, or bytes."""
    position = 0
    while position < len(data):
        key, position = take_varint(data, position, "a prompt")
        value, position = take_varint(data, position, "a prompt")
        if key & 7 == _VARINT:
            yield key >> 3, value
        elif key & 7 == _BYTES:
            if value > len(data) - position:
                raise _DamageError("it ends too early")
            yield key >> 3, data[position : position + value]
            position += value
        else:
            raise _DamageError(f"a field of kind {key & 7}")
