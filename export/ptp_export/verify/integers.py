"""An integer entropy path: proved again, computed again independently, and weighed against the float path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ptp_export.entropy.certificate import entropy_models, proved_again
from ptp_export.entropy.rate_cost import RateCost, stream_bytes, total
from ptp_export.oracle.entropy_reference import EntropyReference, GraphEntropy
from ptp_export.oracle.reference import ReferenceChain, ReferenceRun
from ptp_export.verify.limits import Limits
from ptp_runtime.bundle import Bundle
from ptp_runtime.entropy_path import place_of, write_decoded
from ptp_runtime.latents import Latents
from ptp_runtime.manifest import ScheduleEntry
from ptp_runtime.tables import Tables


@dataclass(frozen=True)
class IntegerResult:
    """What was found of a bundle's integer entropy path.

    Attributes:
        certificate: proved from the bundle's files; see :func:`ptp_export.entropy.certificate.summary`.
        costs: bytes of each photo's latents, with the model's float networks and with the integer path.
        differing: indices and means that the runtime and the independent implementation gave differently, for the
            runtime's own latents, over all photos.
        compared: of how many.
        limit: of the cost, all photos together, as a share.
    """

    certificate: Mapping[str, Any]
    costs: Sequence[RateCost]
    differing: int
    compared: int
    limit: float

    @property
    def cost(self) -> float:
        """By what share all photos' streams together are longer than with the float path."""
        return total(self.costs).share

    def problems(self) -> list[str]:
        """One sentence for each limit passed."""
        if not self.costs or not self.compared:
            return ["the integer entropy path: nothing was compared"]
        found = []
        if self.differing:
            found.append(
                f"the integer entropy path: {self.differing} of {self.compared} indices and means are not those of an"
                " independent implementation"
            )
        if not self.cost <= self.limit:
            found.append(f"the integer entropy path costs {self.cost:+.2%} bytes, above {self.limit:g}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        whole = total(self.costs)
        return {
            "certificate": dict(self.certificate),
            "differing": self.differing,
            "compared": self.compared,
            "float_bytes": whole.float_bytes,
            "integer_bytes": whole.integer_bytes,
            "cost": self.cost if self.costs else None,
            "costs": [cost.share for cost in self.costs],
            "limit": self.limit,
            "passed": not self.problems(),
        }


class IntegerCheck:
    """Looks at the integer entropy path of a bundle, photo by photo.

    Args:
        bundle: with an integer path.
        model: the checkpoint, coding with its float networks.
        limits: to check against.

    Attributes:
        chain: the checkpoint, coding with the bundle's integer path by an implementation that is not the runtime's.

    Raises:
        VerificationError: the certificate does not hold; see :func:`ptp_export.entropy.certificate.proved_again`.
        EngineError: a graph has an operator that no entropy path has.
    """

    def __init__(self, bundle: Bundle, model: ReferenceChain, limits: Limits) -> None:
        manifest = bundle.manifest
        models = entropy_models(bundle)
        self._certificate = proved_again(manifest, models)
        self._schedule = manifest.entropy.schedule
        self._tables = Tables.from_bytes(bundle.read(manifest.entropy.tables))
        self._model = model
        self._limit = limits.rate_limit(manifest.task.name)
        self._costs: list[RateCost] = []
        self._differing = self._compared = 0
        self.chain = model.with_integers(GraphEntropy(models, [step.graph for step in self._schedule]))

    @classmethod
    def of(cls, bundle: Bundle, model: ReferenceChain, limits: Limits) -> IntegerCheck | None:
        """A check where the bundle has an integer path; None where it has a float path. Errors as the class."""
        return cls(bundle, model, limits) if bundle.manifest.entropy.mode == "integer" else None

    def add(self, run: ReferenceRun, latents: Latents) -> None:
        """Take one photo.

        Args:
            run: of :attr:`chain`.
            latents: that the runtime coded, with every step.
        """
        analysed = run.graphs["analysis"].outputs
        y, z = (torch.from_numpy(np.asarray(analysed[name])) for name in ("y", "z"))
        spec, schedule = self._model.codec.spec, self._model.codec.context.schedule
        sizes = [
            stream_bytes(coded, self._tables, schedule, spec.skip_index)
            for coded in (self._model.code(y, z), run.coded)
        ]
        self._costs.append(RateCost(*sizes))
        differing, compared = compare_integers(latents, self.chain.entropy, self._schedule)
        self._differing += differing
        self._compared += compared

    def result(self) -> IntegerResult:
        """Of all photos so far."""
        return IntegerResult(self._certificate, tuple(self._costs), self._differing, self._compared, self._limit)


@torch.inference_mode()
def compare_integers(latents: Latents, entropy: EntropyReference, schedule: Sequence[ScheduleEntry]) -> tuple[int, int]:
    """Compute a stream's indices and means again from its own symbols.

    Args:
        latents: of the runtime, with every step.
        entropy: the independent implementation.
        schedule: of the bundle.

    Returns:
        How many differ, and of how many.
    """
    known = entropy.hyper(torch.from_numpy(latents.z[None].astype(np.float32)))
    decoded = np.zeros_like(latents.y_int)
    differing = compared = 0
    for number, (step, record) in enumerate(zip(schedule, latents.steps, strict=True)):
        found = entropy.step(number, known | {"y_int": torch.from_numpy(decoded.copy())})
        known |= {name: value for name, value in found.items() if name not in ("index", "mean")}
        for name, ours in (("index", record.index), ("mean", record.mean)):
            differing += int(np.count_nonzero(found[name][0].numpy() != ours))
            compared += ours.size
        write_decoded(decoded[0], record.symbols, record.mean, place_of(step, *decoded.shape[2:]))
    return differing, compared
