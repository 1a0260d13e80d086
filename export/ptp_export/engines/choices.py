"""How engines are built, beyond the graph and the sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptp_export.engines.targets import Target
from ptp_runtime.errors import UsageError
from ptp_runtime.manifest import COMPATIBILITIES, PROOF_LEVELS


@dataclass(frozen=True)
class BuildChoices:
    """What was asked of the builder.

    Attributes:
        compatible: ``hardware`` (any GPU from Ampere on), ``version`` (later versions of one major version), or both.
        strip_weights: engines without weights, which the runtime takes from the ONNX files; never the entropy path's.
        require_proof: the level at which the precision must be proved for the export to succeed; empty: any.
        cache: folder of engines that were built before; None: every engine is built.
    """

    compatible: tuple[str, ...] = ()
    strip_weights: bool = False
    require_proof: str = ""
    cache: Path | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.compatible if name not in COMPATIBILITIES]
        if unknown:
            raise UsageError("unknown compatibility", expected=", ".join(COMPATIBILITIES), got=", ".join(unknown))
        if self.require_proof not in ("", *PROOF_LEVELS):
            raise UsageError("unknown level of proof", expected=", ".join(PROOF_LEVELS), got=self.require_proof)

    def require_possible(self, target: Target) -> None:
        """Refuse what a builder is known not to have.

        Raises:
            UsageError: the target ignores the request, and would give an engine that is not what was asked for.
        """
        if "hardware" in self.compatible and not target.hardware_compatibility:
            raise UsageError(
                f"{target.name} has no hardware-compatible engines",
                expected="--device, once for each compute capability: one engine serves all of them",
                got="--compatible hardware",
                hint="leave it out: without --device an engine is for every GPU that the library takes",
            )

    def words(self) -> list[str]:
        """The options of the command line that ask for this."""
        words = [word for name in self.compatible for word in ("--compatible", name)]
        words += ["--strip-weights"] if self.strip_weights else []
        words += ["--require-proof", self.require_proof] if self.require_proof else []
        return words
