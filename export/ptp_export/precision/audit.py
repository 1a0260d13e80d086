"""What was asked of every layer, what it got, and whether the difference has a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ptp_calibration import TensorRange
from ptp_export.precision.cost import CONVOLUTIONS, multiply_accumulates
from ptp_export.precision.exclusions import Exclusion
from ptp_export.precision.typed_graph import TypedGraph
from ptp_runtime.errors import PrecisionNotMetError

#: A graph with less of its arithmetic in FP16 than this does not deserve the label.
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class LayerPrecision:
    """One layer.

    Attributes:
        node: name of the node in the FP32 graph and in the converted one.
        operator: ONNX operator.
        asked, got: ``fp16`` or ``fp32``.
        exclusion: name of the exclusion that asked for FP32, or empty.
        multiply_accumulates: at the size measured.
    """

    node: str
    operator: str
    asked: str
    got: str
    exclusion: str
    multiply_accumulates: int

    @property
    def short(self) -> bool:
        """FP16 was asked and not got."""
        return self.asked == "fp16" and self.got != "fp16"


@dataclass(frozen=True)
class PrecisionAudit:
    """The audit of one graph.

    Attributes:
        layers: every node that computes floats from floats.
        exclusions: exclusion name → reason, of those that apply.
    """

    layers: tuple[LayerPrecision, ...]
    exclusions: Mapping[str, str]

    @property
    def share_of_layers(self) -> float:
        """Layers in FP16 over all layers."""
        return sum(1 for _ in self._half()) / max(1, len(self.layers))

    @property
    def share_of_convolutions(self) -> float:
        """Convolutions in FP16 over all convolutions; 1 when there are none."""
        convolutions = [layer for layer in self.layers if layer.operator in CONVOLUTIONS]
        return sum(layer.got == "fp16" for layer in convolutions) / len(convolutions) if convolutions else 1.0

    @property
    def share_of_arithmetic(self) -> float:
        """Multiply-accumulates in FP16 over all; by layers where there are none."""
        total = sum(layer.multiply_accumulates for layer in self.layers)
        return sum(layer.multiply_accumulates for layer in self._half()) / total if total else self.share_of_layers

    @property
    def shortfall(self) -> tuple[LayerPrecision, ...]:
        """Layers that should be in FP16 and are not."""
        return tuple(layer for layer in self.layers if layer.short)

    def with_engine(self, computed: Mapping[str, str]) -> PrecisionAudit:
        """The audit of an engine's network: ``computed`` maps node names to what the network computes in.

        A node that the parser swallowed keeps what the graph says.
        """
        return replace(self, layers=tuple(replace(item, got=computed.get(item.node, item.got)) for item in self.layers))

    def require_met(self, name: str, *, allow_partial: bool) -> None:
        """Raise :class:`PrecisionNotMetError` for a shortfall, or when exclusions swallow most of the arithmetic."""
        if allow_partial:
            return
        hint = "look at the audit in the manifest, or accept it with --allow-partial"
        if self.shortfall:
            worst = sorted(self.shortfall, key=lambda layer: -layer.multiply_accumulates)[:3]
            named = ", ".join(f"{layer.operator} {layer.node}" for layer in worst)
            raise PrecisionNotMetError(
                f"FP16 was not reached in the graph {name!r}",
                expected="every layer in FP16 that no named exclusion keeps in FP32",
                got=f"{len(self.shortfall)} layers in FP32, such as {named}",
                hint=hint,
            )
        if self.share_of_arithmetic < LEAST_SHARE:
            raise PrecisionNotMetError(
                f"the exclusions leave too little of the graph {name!r} in FP16",
                expected=f"at least {LEAST_SHARE:.0%} of the multiply-accumulates",
                got=f"{self.share_of_arithmetic:.1%} (exclusions: {', '.join(self.exclusions) or 'none'})",
                hint=hint,
            )

    def to_dict(self) -> dict[str, Any]:
        """Shares, exclusions with their reasons and counts, and every layer in FP32, as JSON values."""
        counts = Counter(layer.exclusion for layer in self.layers if layer.exclusion)
        return {
            "share_of_arithmetic": round(self.share_of_arithmetic, 6),
            "share_of_convolutions": round(self.share_of_convolutions, 6),
            "share_of_layers": round(self.share_of_layers, 6),
            "layers": len(self.layers),
            "exclusions": {
                name: {"reason": reason, "layers": counts.get(name, 0)} for name, reason in self.exclusions.items()
            },
            "layers_in_fp32": [
                {
                    "node": layer.node,
                    "operator": layer.operator,
                    "asked": layer.asked,
                    "exclusion": layer.exclusion,
                    "multiply_accumulates": layer.multiply_accumulates,
                }
                for layer in self.layers
                if layer.got != "fp16"
            ],
        }

    def _half(self) -> Iterable[LayerPrecision]:
        return (layer for layer in self.layers if layer.got == "fp16")


def audit_precision(
    before: TypedGraph, after: TypedGraph, exclusions: Iterable[Exclusion], ranges: Mapping[str, TensorRange]
) -> PrecisionAudit:
    """Compare the FP32 graph with the converted one, layer by layer.

    Args:
        before: the FP32 graph.
        after: what a conversion made of it; types are read from the graph itself, not from the conversion's plan.
        exclusions: what the conversion was told to leave.
        ranges: sizes of the FP32 graph's tensors.
    """
    kept = {node: exclusion.name for exclusion in exclusions for node in exclusion.nodes}
    converted = {node.name: node for node in after.graph.node}
    layers = []
    for node in before.graph.node:
        if not before.is_layer(node):
            continue
        twin = converted.get(node.name)
        layers.append(
            LayerPrecision(
                node=node.name,
                operator=node.op_type,
                asked="fp32" if node.name in kept else "fp16",
                got="fp32" if twin is None else after.computes_in(twin),
                exclusion=kept.get(node.name, ""),
                multiply_accumulates=multiply_accumulates(node, before, ranges),
            )
        )
    used = {layer.exclusion for layer in layers}
    return PrecisionAudit(
        tuple(layers), {exclusion.name: exclusion.reason for exclusion in exclusions if exclusion.name in used}
    )
