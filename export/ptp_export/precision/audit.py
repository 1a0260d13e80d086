"""What was asked of every layer, what it got, and whether the difference has a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ptp_calibration import TensorRange
from ptp_export.precision.cost import CONVOLUTIONS, multiply_accumulates
from ptp_export.precision.request import PrecisionRequest
from ptp_export.precision.typed_graph import TypedGraph
from ptp_runtime.errors import PrecisionNotMetError

#: A graph with less of its arithmetic in the precision that was asked for than this does not deserve the label.
LEAST_SHARE = 0.5

#: Shorter first. Weights alone in INT8 make files smaller; the arithmetic is that of floats.
_LENGTH = {"int8": 0, "fp16": 1, "weight-only": 2, "fp32": 2}
_SHORT = ("int8", "fp16")


@dataclass(frozen=True)
class LayerPrecision:
    """One layer.

    Attributes:
        node: name of the node in the FP32 graph and in the converted one.
        operator: ONNX operator.
        asked: ``int8``, ``fp16`` or ``fp32``.
        got: one of them, or ``weight-only``: its weights alone are INT8.
        exclusion: name of the exclusion that asked for more than what was asked of the graph, or empty.
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
        """It got more bits than were asked."""
        return _LENGTH[self.got] > _LENGTH[self.asked]


@dataclass(frozen=True)
class PrecisionAudit:
    """The audit of one graph.

    Attributes:
        layers: every node that computes floats from floats.
        exclusions: exclusion name → reason, of those that apply.
        asked: of the graph: ``int8`` or ``fp16``.
        least_share: of the multiply-accumulates that must be in it.
        of_network: of what an engine's network computes, not of the conversion of the graph.
    """

    layers: tuple[LayerPrecision, ...]
    exclusions: Mapping[str, str]
    asked: str = "fp16"
    least_share: float = LEAST_SHARE
    of_network: bool = False

    @property
    def precision(self) -> str:
        """The shortest that any layer got: ``int8``, ``fp16`` or ``fp32``."""
        got = {layer.got for layer in self.layers}
        return next((precision for precision in _SHORT if precision in got), "fp32")

    @property
    def share_of_layers(self) -> float:
        """Layers in less than FP32 over all layers."""
        return sum(1 for _ in self._shortened()) / max(1, len(self.layers))

    @property
    def share_of_convolutions(self) -> float:
        """Convolutions in less than FP32 over all convolutions; 1 when there are none."""
        convolutions = [layer for layer in self.layers if layer.operator in CONVOLUTIONS]
        return sum(layer.got in _SHORT for layer in convolutions) / len(convolutions) if convolutions else 1.0

    @property
    def share_of_arithmetic(self) -> float:
        """Multiply-accumulates in less than FP32 over all; by layers where there are none."""
        total = sum(layer.multiply_accumulates for layer in self.layers)
        return sum(layer.multiply_accumulates for layer in self._shortened()) / total if total else self.share_of_layers

    @property
    def arithmetic(self) -> dict[str, float]:
        """Precision → share of the multiply-accumulates."""
        total = sum(layer.multiply_accumulates for layer in self.layers)
        shares: dict[str, float] = {}
        for layer in self.layers:
            if layer.multiply_accumulates:
                shares[layer.got] = shares.get(layer.got, 0.0) + layer.multiply_accumulates / total
        return shares

    @property
    def shortfall(self) -> tuple[LayerPrecision, ...]:
        """Layers that got more bits than were asked."""
        return tuple(layer for layer in self.layers if layer.short)

    def sentence(self) -> str:
        """Products by precision, and why some are not in the shortest: ``41 of 44 products INT8, …``."""
        products = [layer for layer in self.layers if layer.multiply_accumulates]
        wanted = self.asked
        met = [layer for layer in products if layer.got == wanted]
        shares = self.arithmetic
        parts = [
            f"{len(met)} of {len(products)} convolutions and matrix products {wanted.upper()}"
            f" ({shares.get(wanted, 0.0):.1%} of the arithmetic)"
        ]
        rest = Counter((layer.got, layer.exclusion or "no reason") for layer in products if layer.got != wanted)
        parts += [
            f"{count} {got if got == 'weight-only' else got.upper()} ({why})" for (got, why), count in rest.items()
        ]
        return "; ".join(parts)

    def with_engine(self, computed: Mapping[str, str]) -> PrecisionAudit:
        """The audit of an engine's network: ``computed`` maps node names to what the network computes in.

        A node that the parser swallowed keeps what the graph says.
        """
        layers = tuple(replace(item, got=computed.get(item.node, item.got)) for item in self.layers)
        return replace(self, layers=layers, of_network=True)

    def require_met(self, name: str, *, allow_partial: bool) -> None:
        """Raise :class:`PrecisionNotMetError` for a shortfall, or when exclusions swallow most of the arithmetic.

        Of an engine's network only a shortfall counts: it is asked for what the graph says, however little that is.
        """
        if allow_partial:
            return
        hint = "look at the audit in the manifest, or accept it with --allow-partial"
        wanted = self.asked.upper()
        if self.shortfall:
            worst = sorted(self.shortfall, key=lambda layer: -layer.multiply_accumulates)[:3]
            named = ", ".join(f"{layer.operator} {layer.node}" for layer in worst)
            found = ", ".join(sorted({_words(layer.got) for layer in self.shortfall}))
            raise PrecisionNotMetError(
                f"{wanted} was not reached in the graph {name!r}",
                expected=f"every layer in {wanted} that no named exclusion keeps from it",
                got=f"{len(self.shortfall)} layers in {found}, such as {named}",
                hint=hint,
            )
        if self.of_network:
            return
        share = self.arithmetic.get("int8", 0.0) if wanted == "INT8" else self.share_of_arithmetic
        if share < self.least_share:
            raise PrecisionNotMetError(
                f"the exclusions leave too little of the graph {name!r} in {wanted}",
                expected=f"at least {self.least_share:.0%} of the multiply-accumulates",
                got=f"{share:.1%} (exclusions: {', '.join(self.exclusions) or 'none'})",
                hint=hint,
            )

    def to_dict(self) -> dict[str, Any]:
        """Shares, exclusions with their reasons and counts, and every layer that was kept from what was asked, as JSON
        values: ``layers_in_fp32`` those in FP32, ``layers_not_int8`` of a graph in INT8 the products in anything else.
        """
        counts = Counter(layer.exclusion for layer in self.layers if layer.exclusion)
        return {
            "asked": self.asked,
            "arithmetic": {name: round(share, 6) for name, share in sorted(self.arithmetic.items())},
            "share_of_arithmetic": round(self.share_of_arithmetic, 6),
            "share_of_convolutions": round(self.share_of_convolutions, 6),
            "share_of_layers": round(self.share_of_layers, 6),
            "layers": len(self.layers),
            "exclusions": {
                name: {"reason": reason, "layers": counts.get(name, 0)} for name, reason in self.exclusions.items()
            },
            "layers_in_fp32": [
                _entry(layer)
                for layer in self.layers
                if layer.got not in _SHORT and (layer.exclusion or layer.asked != "fp32")
            ],
            **({} if self.asked != "int8" else {"layers_not_int8": [_entry(layer) for layer in self._not_int8()]}),
        }

    def _shortened(self) -> Iterable[LayerPrecision]:
        return (layer for layer in self.layers if layer.got in _SHORT)

    def _not_int8(self) -> Iterable[LayerPrecision]:
        return (layer for layer in self.layers if layer.multiply_accumulates and layer.got != "int8")


def _entry(layer: LayerPrecision) -> dict[str, Any]:
    return {
        "node": layer.node,
        "operator": layer.operator,
        "asked": layer.asked,
        "got": layer.got,
        "exclusion": layer.exclusion,
        "multiply_accumulates": layer.multiply_accumulates,
    }


def _words(precision: str) -> str:
    return "INT8 for weights alone" if precision == "weight-only" else precision.upper()


def audit_precision(
    before: TypedGraph, after: TypedGraph, request: PrecisionRequest, ranges: Mapping[str, TensorRange]
) -> PrecisionAudit:
    """Compare the FP32 graph with the converted one, layer by layer.

    Args:
        before: the FP32 graph.
        after: what a conversion made of it; types are read from the graph itself, not from the conversion's plan.
        request: what the conversion was told.
        ranges: sizes of the FP32 graph's tensors.
    """
    converted = {node.name: node for node in after.graph.node}
    layers = []
    for node in before.graph.node:
        if not before.is_layer(node):
            continue
        twin = converted.get(node.name)
        asked, exclusion = request.of(node)
        layers.append(
            LayerPrecision(
                node=node.name,
                operator=node.op_type,
                asked=asked,
                got="fp32" if twin is None else after.computes_in(twin),
                exclusion=exclusion,
                multiply_accumulates=multiply_accumulates(node, before, ranges),
            )
        )
    used = {layer.exclusion for layer in layers}
    reasons = {exclusion.name: exclusion.reason for exclusion in request.exclusions if exclusion.name in used}
    return PrecisionAudit(tuple(layers), reasons, request.label, request.least_share)
