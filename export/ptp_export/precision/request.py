"""What is asked of each layer of a graph, and which exclusion asks for more than of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import onnx

from ptp_export.precision.exclusions import Exclusion
from ptp_export.precision.typed_graph import PRODUCTS


@dataclass(frozen=True)
class PrecisionRequest:
    """FP16, INT8, or INT8 with the rest in FP16.

    Attributes:
        half: everything is asked to be in FP16 that no exclusion keeps in FP32, and that is not in INT8.
        half_exclusions: what stays in FP32 in spite of ``half``.
        integer: products are asked to be in INT8 that no exclusion keeps from it.
        integer_exclusions: products that stay in floats in spite of ``integer``.
        least_share: of the multiply-accumulates in the shortest precision, for the graph to deserve the name.
    """

    half: bool = False
    half_exclusions: tuple[Exclusion, ...] = ()
    integer: bool = False
    integer_exclusions: tuple[Exclusion, ...] = ()
    least_share: float = 0.5

    @property
    def label(self) -> str:
        """The shortest that is asked: ``int8`` or ``fp16``."""
        return "int8" if self.integer else "fp16"

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """All of them."""
        return (*self.integer_exclusions, *self.half_exclusions)

    def of(self, node: onnx.NodeProto) -> tuple[str, str]:
        """``int8``, ``fp16`` or ``fp32``, and the name of the exclusion that asks for more than of others, or empty."""
        refused = self._not_integer.get(node.name, "")
        if self.integer and node.op_type in PRODUCTS and not refused:
            return "int8", ""
        if self.half:
            kept = self._not_half.get(node.name, "")
            return ("fp32", kept or refused) if kept else ("fp16", refused)
        return "fp32", refused

    @cached_property
    def _not_integer(self) -> dict[str, str]:
        return {node: exclusion.name for exclusion in self.integer_exclusions for node in exclusion.nodes}

    @cached_property
    def _not_half(self) -> dict[str, str]:
        return {node: exclusion.name for exclusion in self.half_exclusions for node in exclusion.nodes}
