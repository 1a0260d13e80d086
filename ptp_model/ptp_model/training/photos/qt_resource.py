"""Read the files inside a Qt resource collection (``.rcc``), the container that GCompris keeps its pictures in.

Layout (Qt's ``qresource.cpp``, big-endian): the magic ``qres``, then 32-bit version, tree offset, data offset, names
offset and, from version 3, flags. The tree is an array of nodes: name offset u32, node flags u16, then for a folder
child count u32 and first child u32, for a file territory u16, language u16 and data offset u32; from version 2 a node
ends with a 64-bit time. A name is u16 length, u32 hash, UTF-16 text. A file's data is u32 length and its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_MAGIC = b"qres"
_COMPRESSED = 0x01 | 0x04  # zlib, zstd
_FOLDER = 0x02
_MAX_DEPTH = 32


class QtResourceError(ValueError):
    """The bytes are not a Qt resource collection that this reader understands."""


def read_files(collection: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each uncompressed file of the collection as (path, content); compressed files are passed over.

    Raises:
        QtResourceError: not a resource collection, or an offset that points outside it.
    """
    if collection[:4] != _MAGIC:
        raise QtResourceError(f"expected a Qt resource collection starting with {_MAGIC!r}; got {collection[:4]!r}")
    try:
        version, tree, data, names = struct.unpack_from(">4I", collection, 4)
        node_bytes = 22 if version >= 2 else 14
        yield from _walk(collection, (tree, node_bytes, data, names), index=0, parents=())
    except struct.error as error:
        raise QtResourceError(f"the collection ends before an offset it names ({len(collection)} bytes)") from error


def _walk(
    collection: bytes, layout: tuple[int, int, int, int], *, index: int, parents: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    tree, node_bytes, data, names = layout
    if len(parents) > _MAX_DEPTH:
        raise QtResourceError(f"folders nested deeper than {_MAX_DEPTH}: the tree has a loop")
    node = tree + index * node_bytes
    name_offset, flags = struct.unpack_from(">IH", collection, node)
    path = (*parents, _name(collection, names + name_offset)) if index else parents
    if flags & _FOLDER:
        count, first = struct.unpack_from(">II", collection, node + 6)
        for child in range(first, first + count):
            yield from _walk(collection, layout, index=child, parents=path)
    elif not flags & _COMPRESSED:
        (data_offset,) = struct.unpack_from(">I", collection, node + 10)
        (length,) = struct.unpack_from(">I", collection, data + data_offset)
        start = data + data_offset + 4
        if start + length > len(collection):
            raise QtResourceError(f"{'/'.join(path)}: {length} bytes promised, {len(collection) - start} left")
        yield "/".join(path), collection[start : start + length]


def _name(collection: bytes, offset: int) -> str:
    (length,) = struct.unpack_from(">H", collection, offset)
    return collection[offset + 6 : offset + 6 + 2 * length].decode("utf-16-be", errors="replace")
