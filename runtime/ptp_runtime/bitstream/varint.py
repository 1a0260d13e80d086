"""Whole numbers in as few bytes as they need: 7 bits a byte, low bits first, the top bit says that more follow.

At most 5 bytes (below 2^35), and only the shortest form is valid, so that a number has one spelling.
"""

from __future__ import annotations

from ptp_runtime.errors import CorruptStreamError, TruncatedStreamError, UsageError

MAX_BYTES = 5


def put_varint(value: int) -> bytes:
    """The bytes of a number of 0 … 2^35 - 1.

    Raises:
        UsageError: another number.
    """
    if not 0 <= value < 1 << (7 * MAX_BYTES):
        raise UsageError("varint", expected="0 … 2^35 - 1", got=str(value))
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def take_varint(view: memoryview, position: int, name: str) -> tuple[int, int]:
    """Reads a number at ``position``; returns it and the position behind it.

    Raises:
        TruncatedStreamError: the bytes end within the number.
        CorruptStreamError: longer than 5 bytes, or not the shortest form.
    """
    value = 0
    for count in range(MAX_BYTES):
        if position + count >= len(view):
            raise TruncatedStreamError(
                f"the stream ends in {name}", expected="another byte", got=f"{len(view)} bytes", hint="fetch it again"
            )
        byte = view[position + count]
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            if byte == 0 and count > 0:
                raise CorruptStreamError(f"{name} is not in its shortest form", got=f"{count + 1} bytes")
            return value, position + count + 1
    raise CorruptStreamError(f"{name} is too long", expected=f"at most {MAX_BYTES} bytes", got="more")
