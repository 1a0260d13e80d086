"""How often each size of a tensor's values occurs: what the observers choose a threshold from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.errors import CalibrationError

BINS = 2048


@dataclass
class Histogram:
    """Counts of |x| in equal bins from 0 to ``limit``, which doubles whenever a larger value comes: the order in which
    values are added changes nothing but the last bits of the limit.

    Attributes:
        counts: int64 [BINS].
        limit: upper end of the last bin; 0 before anything but zeros was added.
        largest: the largest |x|.
    """

    counts: NDArray[np.int64]
    limit: float = 0.0
    largest: float = 0.0

    @classmethod
    def empty(cls) -> Histogram:
        """Nothing added yet."""
        return cls(np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.float32]) -> None:
        """Count the values of one tensor.

        Raises:
            CalibrationError: a value is not finite.
        """
        sizes = np.abs(values).ravel()
        if not sizes.size:
            return
        largest = float(sizes.max())
        if not np.isfinite(largest):
            raise CalibrationError("a tensor is not finite; expected finite values: the model is damaged")
        self.largest = max(self.largest, largest)
        if self.limit == 0 and largest > 0:
            # A power of two above all values: the bins are then the same whichever sample comes first.
            self.limit = float(2.0 ** (np.floor(np.log2(largest)) + 1))
        while largest >= self.limit > 0:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
            self.limit *= 2
        if self.limit == 0:
            self.counts[0] += sizes.size
            return
        self.counts += np.histogram(sizes, BINS, (0.0, self.limit))[0]

    @property
    def width(self) -> float:
        """Of a bin."""
        return self.limit / BINS

    @property
    def middles(self) -> NDArray[np.float64]:
        """Of the bins."""
        middles: NDArray[np.float64] = (np.arange(BINS) + 0.5) * self.width
        return middles
