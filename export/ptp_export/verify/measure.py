"""How far two tensors are apart, and what of that is allowed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_export.verify.limits import FloatLimit, IntegerLimit


@dataclass(frozen=True)
class FloatError:
    """Distance of a float tensor from its reference, on one photo.

    Attributes:
        worst: largest |difference| over the reference's largest |value|; infinite if the tensor is not finite.
        typical: root mean square of the difference over that of the reference.
    """

    worst: float
    typical: float

    def within(self, limit: FloatLimit) -> bool:
        """Whether both figures keep to the limit."""
        return self.worst <= limit.worst and self.typical <= limit.typical

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; an infinity becomes null."""
        return {key: value if np.isfinite(value) else None for key, value in asdict(self).items()}


@dataclass(frozen=True)
class IntegerError:
    """Distance of an integer tensor from its reference, on one photo.

    Attributes:
        differing: how many values differ.
        count: of how many.
        largest: by how much at most.
    """

    differing: int
    count: int
    largest: int

    @property
    def share(self) -> float:
        """Differing values over all."""
        return self.differing / self.count if self.count else 0.0

    def within(self, limit: IntegerLimit) -> bool:
        """Whether both figures keep to the limit."""
        return self.share <= limit.differing and self.largest <= limit.largest

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"share": self.share}


def float_error(found: NDArray[Any], reference: NDArray[Any]) -> FloatError:
    """Compare two float tensors of one shape. A reference of zeros is compared absolutely."""
    if not np.isfinite(found).all():
        return FloatError(np.inf, np.inf)
    difference = found.astype(np.float64) - reference.astype(np.float64)
    peak = float(np.abs(reference).max(initial=0.0)) or 1.0
    power = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64)))) or 1.0
    return FloatError(
        float(np.abs(difference).max(initial=0.0)) / peak, float(np.sqrt(np.mean(np.square(difference)))) / power
    )


def integer_error(found: NDArray[Any], reference: NDArray[Any]) -> IntegerError:
    """Compare two integer tensors of one shape."""
    difference = np.abs(found.astype(np.int64) - reference.astype(np.int64))
    return IntegerError(int(np.count_nonzero(difference)), difference.size, int(difference.max(initial=0)))
