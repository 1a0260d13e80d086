"""The first bytes of a TensorRT-RTX plan.

The format is undocumented. What is read here was seen in every plan of version 1.7 and may change: a header that does
not look like this says that a file is no such plan, and one that does says little more.
"""

from __future__ import annotations

from dataclasses import dataclass

HEADER_BYTES = 0x1C

_MAGIC = b"vtrt"
_SIZE_AT, _SIZE_BYTES = 0x10, 8
_VERSION_AT, _VERSION_BYTES = 0x18, 4


@dataclass(frozen=True)
class PlanHeader:
    """What the header says.

    Attributes:
        version: of the builder, for example ``1.7.1.116``.
        size: of the whole plan, bytes.
    """

    version: str
    size: int


def plan_header(plan: bytes) -> PlanHeader | None:
    """Read a plan's header; None where it is not one of TensorRT-RTX.

    Args:
        plan: its first :data:`HEADER_BYTES` bytes, or more.
    """
    if len(plan) < HEADER_BYTES or not plan.startswith(_MAGIC):
        return None
    version = plan[_VERSION_AT : _VERSION_AT + _VERSION_BYTES]
    size = int.from_bytes(plan[_SIZE_AT : _SIZE_AT + _SIZE_BYTES], "little")
    return PlanHeader(".".join(str(byte) for byte in version), size)
