"""A smoke test on the bytes of a TensorRT-RTX plan.

The format is undocumented: what is read here was seen in plans of version 1.7 and may change. It can tell that an
engine is plainly not what it should be, and nothing more; the audit that counts is that of the network.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

_MAGIC = b"vtrt"
_VERSION_AT = 0x18
_TYPES = ("half", "float", "int8")


@dataclass(frozen=True)
class PlanText:
    """What the plan's bytes suggest.

    Attributes:
        known_format: it starts as plans of TensorRT-RTX do.
        version: builder version in the header, for example ``1.7.1.116``; empty if the format is not known.
        tensors: element type → how often the plan's text declares a tensor of it.
    """

    known_format: bool
    version: str
    tensors: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def plan_text(plan: bytes) -> PlanText:
    """Read a plan's header and count the element types that its text names."""
    known = plan.startswith(_MAGIC) and len(plan) > _VERSION_AT + 4
    version = ".".join(str(byte) for byte in plan[_VERSION_AT : _VERSION_AT + 4]) if known else ""
    counts = {kind: len(re.findall(rb"\btype=" + kind.encode() + rb"\b", plan)) for kind in _TYPES}
    return PlanText(known, version, counts)
