"""How far an engine's precision is proved: the ONNX file, the builder's network, the engine itself.

Each level is weighed against the same request. A level that was reached and falls short is an error; one that cannot be
reached here is said to be missing, and the runtime makes up for it at the first load on a device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptp_export.precision.audit import PrecisionAudit
from ptp_runtime.engines.proof import LEAST_SEEN, EngineProof, proof_from_inspection
from ptp_runtime.errors import PrecisionNotMetError
from ptp_runtime.manifest import PROOF_LEVELS
from ptp_runtime.manifest.model import PRECISIONS

Asked = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class PrecisionProof:
    """What is known of one engine's precision.

    Attributes:
        level: the highest level at which it is as asked.
        asked: precision → node → share of the multiply-accumulates: what the engine has to compute in.
        shares: level → precision → share of the multiply-accumulates, of the levels that were reached.
        missing: why the level ``engine`` was not reached; empty where it was.
    """

    level: str
    asked: Asked
    shares: Mapping[str, Mapping[str, float]]
    missing: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without what was asked: the manifest has that already."""
        return {"level": self.level, "shares": {k: dict(v) for k, v in self.shares.items()}, "missing": self.missing}


def proof_of_engine(
    name: str,
    graph: PrecisionAudit,
    network: PrecisionAudit,
    report: Mapping[str, Any],
    *,
    allow_partial: bool,
) -> PrecisionProof:
    """Put the levels together.

    Args:
        name: of the graph.
        graph: audit of the ONNX file.
        network: the same audit with what the network computes in.
        report: of the worker, with the engine's inspection or the reason for having none.
        allow_partial: a layer that the network computes in something else is asked to stay with that.

    Raises:
        PrecisionNotMetError: the engine computes in something else than asked.
    """
    asked = asked_of(network, accept=allow_partial)
    shares: dict[str, Mapping[str, float]] = {"graph": precision_shares(graph), "network": precision_shares(network)}
    if "inspection" not in report:
        return PrecisionProof("network", asked, shares, str(report.get("not_inspected", "it was not inspected")))
    engine = proof_from_inspection(asked, report["inspection"])
    if engine.short and not allow_partial:
        raise PrecisionNotMetError(
            f"the engine of {name!r} does not compute in what its network asks for",
            expected="every layer as in the builder's network",
            got=engine.sentence(),
            hint="use another version of the builder, or accept it with --allow-partial",
        )
    if asked and engine.seen < LEAST_SEEN:
        return PrecisionProof("network", asked, shares, engine.sentence())
    return PrecisionProof("engine", _without(asked, engine), shares | {"engine": engine.shares}, "")


def require_level(name: str, proof: PrecisionProof, wanted: str) -> None:
    """Raise :class:`PrecisionNotMetError` where a proof ends below the level that was demanded; empty: any will do."""
    if wanted and PROOF_LEVELS.index(proof.level) < PROOF_LEVELS.index(wanted):
        raise PrecisionNotMetError(
            f"the precision of {name!r} is not proved on the {wanted}",
            expected=f"--require-proof {wanted}",
            got=f"proved on the {proof.level} only: {proof.missing}",
            hint="build on a machine with the GPU, or leave the proof to the first load there",
        )


def precision_shares(audit: PrecisionAudit) -> dict[str, float]:
    """Precision → share of the multiply-accumulates; of the layers where there are no products."""
    products = sum(layer.multiply_accumulates for layer in audit.layers)
    shares: dict[str, float] = {}
    for layer in audit.layers:
        weight = layer.multiply_accumulates / products if products else 1 / len(audit.layers)
        shares[layer.got] = shares.get(layer.got, 0.0) + weight
    return {precision: round(share, 6) for precision, share in sorted(shares.items()) if share}


def asked_of(audit: PrecisionAudit, *, accept: bool) -> dict[str, dict[str, float]]:
    """Precision → node → share of the multiply-accumulates.

    Args:
        audit: of the engine's network.
        accept: ask of a layer that fell short what it got.
    """
    products = sum(layer.multiply_accumulates for layer in audit.layers)
    asked: dict[str, dict[str, float]] = {}
    for layer in audit.layers:
        precision = layer.got if accept else layer.asked
        if precision in PRECISIONS:
            share = layer.multiply_accumulates / products if products else 0.0
            asked.setdefault(precision, {})[layer.node] = round(share, 6)
    return asked


def _without(asked: Asked, engine: EngineProof) -> dict[str, dict[str, float]]:
    """What was asked, without the layers that an accepted engine computes otherwise: nobody shall refuse them later."""
    otherwise = {line.partition(": ")[0] for line in engine.short}
    return {
        precision: {node: share for node, share in nodes.items() if node not in otherwise}
        for precision, nodes in asked.items()
    }
