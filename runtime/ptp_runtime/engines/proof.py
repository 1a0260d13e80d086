"""The proof that an engine computes in what was asked: made once for each engine and device, then remembered.

The exporter proves the ONNX file and the builder's network. The engine itself can be inspected on its own device only,
so the last proof is the runtime's, at the first load.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ptp_runtime.atomic import write_bytes
from ptp_runtime.engines.inspection import precision_by_node
from ptp_runtime.errors import EnginePrecisionError, UsageError
from ptp_runtime.manifest import EngineEntry
from ptp_runtime.user_cache import user_cache

LEAST_SEEN = 0.5
"""An engine that shows less of its arithmetic than this is not proved, and not refused either."""

_RULES = 1
"""Raised whenever the same inspection would be judged otherwise."""

_LIMIT = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineProof:
    """What an inspection showed.

    Attributes:
        seen: share of the multiply-accumulates whose layers the inspector shows in one precision.
        shares: precision → share of the multiply-accumulates.
        short: nodes that compute in something else than asked, as ``node: asked, got``.
    """

    seen: float
    shares: Mapping[str, float]
    short: tuple[str, ...]

    @property
    def proved(self) -> bool:
        """As asked, and enough of it seen."""
        return not self.short and self.seen >= LEAST_SEEN

    def sentence(self) -> str:
        """For people."""
        shares = ", ".join(f"{share:.0%} {name}" for name, share in sorted(self.shares.items()))
        if self.short:
            return f"{len(self.short)} layers compute in something else than asked, such as {self.short[0]}"
        if self.proved:
            return f"proved on the engine ({shares or 'nothing to multiply'} of the multiply-accumulates)"
        return f"not proved on the engine: its inspector shows the precision of {self.seen:.0%} of the arithmetic"


def proof_from_inspection(asked: Mapping[str, Mapping[str, float]], inspection: str) -> EngineProof:
    """Weigh an engine's inspection against what was asked.

    Args:
        asked: precision → node → share of the multiply-accumulates, as in the manifest.
        inspection: the inspector's JSON.

    Raises:
        EngineError: the inspection cannot be read.
    """
    wanted = {node: precision for precision, nodes in asked.items() for node in nodes}
    share = {node: value for nodes in asked.values() for node, value in nodes.items()}
    found = precision_by_node(inspection, wanted)
    shares: dict[str, float] = {}
    for node, precision in found.items():
        shares[precision] = shares.get(precision, 0.0) + share[node]
    short = [f"{node}: {wanted[node]}, {got}" for node, got in found.items() if got != wanted[node]]
    total = sum(share.values())
    # Without products, layers count.
    seen = sum(share[node] for node in found) / total if total else len(found) / max(1, len(wanted))
    short.sort(key=lambda line: -share[line.partition(": ")[0]])
    return EngineProof(min(1.0, seen), {name: round(value, 6) for name, value in shares.items() if value}, tuple(short))


def require_proof(entry: EngineEntry, proof: EngineProof) -> None:
    """Raise :class:`EnginePrecisionError` for an engine that computes in something else than asked."""
    if proof.short:
        raise EnginePrecisionError(
            f"the engine {entry.file} does not compute in what was asked",
            expected="as in the manifest",
            got=proof.sentence(),
            hint="build it again with ptp doctor --fix, or use --backend cuda or cpu",
        )


class ProofMemory:
    """Proofs by engine, device and library, in a folder of the user; one that cannot be written remembers nothing.

    Args:
        folder: where; None: the user's cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def recall(self, entry: EngineEntry, device: str, library: str) -> EngineProof | None:
        """The proof of that engine on that device, or None."""
        try:
            data = self._path(entry, device, library).read_bytes()
            value = json.loads(data[:_LIMIT])
            proof = EngineProof(
                float(value["seen"]),
                {str(name): float(share) for name, share in value["shares"].items()},
                tuple(str(line) for line in value["short"]),
            )
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
            # Absent, or not what was written: the engine is inspected again.
            return None
        return proof

    def remember(self, entry: EngineEntry, device: str, library: str, proof: EngineProof) -> None:
        """Keep a proof; a folder that cannot be written is not an error, the engine is inspected each time."""
        try:
            path = self._path(entry, device, library)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, json.dumps(asdict(proof) | {"engine": entry.sha256, "device": device}).encode())
        except (OSError, RuntimeError, UsageError) as error:
            _log.debug("the proof of %s is not remembered: %s", entry.file, error)

    def _path(self, entry: EngineEntry, device: str, library: str) -> Path:
        facts = f"{_RULES}\n{entry.sha256}\n{device}\n{library}\n{json.dumps(entry.asked, sort_keys=True)}"
        folder = user_cache("proofs") if self._folder is None else self._folder
        return folder / f"{hashlib.sha256(facts.encode()).hexdigest()}.json"
