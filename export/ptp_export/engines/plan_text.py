"""A smoke test on the bytes of a TensorRT-RTX plan.

The format is undocumented: what is read here was seen in plans of version 1.7 and may change. It can tell that an
engine is plainly not what it should be, and nothing more; the audit that counts is that of the network.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from ptp_runtime.engines.plan_header import plan_header

_TYPES = ("half", "float", "int8")


@dataclass(frozen=True)
class PlanText:
    """What the plan's bytes suggest.

    Attributes:
        known_format: it starts as plans of TensorRT-RTX do, and is as long as it says.
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
    header = plan_header(plan)
    counts = {kind: len(re.findall(rb"\btype=" + kind.encode() + rb"\b", plan)) for kind in _TYPES}
    if header is None:
        return PlanText(False, "", counts)
    return PlanText(header.size == len(plan), header.version, counts)
