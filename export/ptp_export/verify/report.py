"""What a verification found, for people and for machines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptp_export.verify.gate import GateResult
from ptp_export.verify.integers import IntegerResult
from ptp_export.verify.limits import ChainLimit, FloatLimit, IntegerLimit
from ptp_export.verify.measure import FloatError, IntegerError


@dataclass(frozen=True)
class TensorResult:
    """One output of one graph over all photos.

    Attributes:
        name: of the tensor.
        errors: one a photo.
        limit: of the kind of the errors.
    """

    name: str
    errors: Sequence[FloatError] | Sequence[IntegerError]
    limit: FloatLimit | IntegerLimit

    @property
    def worst(self) -> float:
        """Floats: the largest ``worst`` of all photos. Integers: the share of values that differ, over all photos."""
        floats, integers = self._split()
        if floats:
            return max(error.worst for error in floats)
        return _pooled(integers).share

    @property
    def typical(self) -> float:
        """Floats: the median of the photos' relative root mean square errors. Integers: as :attr:`worst`."""
        floats, integers = self._split()
        if floats:
            return statistics.median(error.typical for error in floats)
        return _pooled(integers).share

    @property
    def passed(self) -> bool:
        """Whether something was compared and every photo kept to the limit (integers: all photos together)."""
        floats, integers = self._split()
        if isinstance(self.limit, FloatLimit):
            return bool(floats) and all(error.within(self.limit) for error in floats)
        return bool(integers) and _pooled(integers).within(self.limit)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        _, integers = self._split()
        values: dict[str, Any] = {"name": self.name, "passed": self.passed, "photos": len(self.errors)}
        if isinstance(self.limit, FloatLimit):
            finite = all(error.to_dict()["worst"] is not None for error in self.errors)
            values |= {
                "worst": self.worst if finite else None,
                "typical": self.typical if finite else None,
                "limit": {"worst": self.limit.worst, "typical": self.limit.typical},
            }
        else:
            values |= _pooled(integers).to_dict()
            values["limit"] = {"differing": self.limit.differing, "largest": self.limit.largest}
        return values

    def _split(self) -> tuple[list[FloatError], list[IntegerError]]:
        return (
            [error for error in self.errors if isinstance(error, FloatError)],
            [error for error in self.errors if isinstance(error, IntegerError)],
        )


def _pooled(errors: Sequence[IntegerError]) -> IntegerError:
    """All photos as one."""
    return IntegerError(
        sum(error.differing for error in errors),
        sum(error.count for error in errors),
        max((error.largest for error in errors), default=0),
    )


@dataclass(frozen=True)
class GraphResult:
    """One graph over all photos."""

    name: str
    role: str
    precision: str
    tensors: Sequence[TensorResult]

    @property
    def passed(self) -> bool:
        """Whether every output was compared and kept to its limit."""
        return bool(self.tensors) and all(tensor.passed for tensor in self.tensors)

    @property
    def worst(self) -> float:
        """Largest ``worst`` of its outputs."""
        return max(tensor.worst for tensor in self.tensors)

    @property
    def typical(self) -> float:
        """Largest ``typical`` of its outputs."""
        return max(tensor.typical for tensor in self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        tensors = [tensor.to_dict() for tensor in self.tensors]
        broken = any(tensor.get("worst", 0.0) is None for tensor in tensors)
        return {
            "name": self.name,
            "role": self.role,
            "precision": self.precision,
            "passed": self.passed,
            "worst": None if broken else self.worst,
            "typical": None if broken else self.typical,
            "tensors": tensors,
        }


@dataclass(frozen=True)
class ChainResult:
    """The whole chain on one photo, runtime against PyTorch.

    Attributes:
        photo: file name.
        rate: number of the rate it was coded at.
        height, width: in pixels, as coded.
        size_bytes: of the stream.
        bits_per_pixel: of the coded image.
        z_differing, symbols_differing: shares of hyper symbols and of residual symbols that differ from PyTorch's.
        feature: relative root mean square error of h.
        disagreement: of the output: seg: share of pixels of another class; det and cls: largest difference of a
            class probability; view: root mean square difference of the pictures, of 1.
        round_trip_errors: symbols, scale indices, means and latents that the decoder got differently from the encoder.
        limit: of all but the last, which may never be above 0.
    """

    photo: str
    rate: int
    height: int
    width: int
    size_bytes: int
    bits_per_pixel: float
    z_differing: float
    symbols_differing: float
    feature: float
    disagreement: float
    round_trip_errors: int
    limit: ChainLimit

    def problems(self) -> list[str]:
        """One sentence for each limit passed."""
        found = (
            []
            if self.round_trip_errors == 0
            else [f"{self.round_trip_errors} values changed between coder and decoder"]
        )
        for name in ("z_differing", "symbols_differing", "feature", "disagreement"):
            value, limit = getattr(self, name), getattr(self.limit, name)
            if not value <= limit:
                found.append(f"{name} {value:.3g} is above {limit:g}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("photo", "rate", "height", "width", "size_bytes", "bits_per_pixel", "z_differing", "symbols_differing")
        values = {name: getattr(self, name) for name in (*names, "feature", "disagreement", "round_trip_errors")}
        limit = {
            "z_differing": self.limit.z_differing,
            "symbols_differing": self.limit.symbols_differing,
            "feature": self.limit.feature,
            "disagreement": self.limit.disagreement,
        }
        return values | {"limit": limit, "passed": not self.problems()}


@dataclass(frozen=True)
class Report:
    """A whole verification.

    Attributes:
        bundle: its path as given.
        task: its task.
        identity: of its entropy path.
        backend: what ran the graphs.
        checkpoint_sha256: of the checkpoint compared with.
        limits_sha256: of the file of limits.
        photos_from: provenance of the photos.
        left_out: photos that were not compared because the bundle was calibrated on them.
        graphs: one a graph of the bundle.
        chain: one a photo.
        integers: of an integer entropy path; None: the bundle has a float path.
        gate: what the precision costs; None where it was not weighed.
    """

    bundle: str
    task: str
    identity: str
    backend: str
    checkpoint_sha256: str
    limits_sha256: str
    photos_from: str
    left_out: Sequence[str]
    graphs: Sequence[GraphResult]
    chain: Sequence[ChainResult]
    integers: IntegerResult | None = None
    gate: GateResult | None = None

    def failures(self) -> list[str]:
        """One sentence for each limit passed, and one if nothing was compared."""
        if not self.graphs or not self.chain:
            return ["nothing was compared"]
        found = []
        for graph in self.graphs:
            for tensor in graph.tensors:
                if not tensor.passed:
                    found.append(
                        f"{graph.name}: {tensor.name} is off by {tensor.worst:.3g} (typically {tensor.typical:.3g})"
                    )
            if not graph.tensors:
                found.append(f"{graph.name}: nothing was compared")
        for result in self.chain:
            found += [f"{result.photo}: {problem}" for problem in result.problems()]
        found += [] if self.gate is None else self.gate.problems()
        return found + ([] if self.integers is None else self.integers.problems())

    @property
    def passed(self) -> bool:
        """Whether something was compared and no limit was passed."""
        return not self.failures()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "bundle": self.bundle,
            "task": self.task,
            "identity": self.identity,
            "backend": self.backend,
            "checkpoint_sha256": self.checkpoint_sha256,
            "limits_sha256": self.limits_sha256,
            "photos_from": self.photos_from,
            "left_out": list(self.left_out),
            "passed": self.passed,
            "failures": self.failures(),
            "graphs": [graph.to_dict() for graph in self.graphs],
            "chain": [result.to_dict() for result in self.chain],
            "gate": None if self.gate is None else self.gate.to_dict(),
            "entropy": None if self.integers is None else self.integers.to_dict(),
        }
