"""What a stream carries, as arrays: kept for the tests and for ``ptp verify``, which compare them symbol by symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class StepRecord:
    """One step of the schedule as coded. Each array is [g, rows, columns] over the region's box.

    Attributes:
        symbols: int32; 0 where nothing is coded.
        index: uint8, which frequency table.
        mean: int16, units of 1/16.
    """

    symbols: npt.NDArray[np.int32]
    index: npt.NDArray[np.uint8]
    mean: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Latents:
    """The decoded latents; equal on both sides, or the stream is out of step.

    Attributes:
        z: int32 [Z, rows, columns], the hyper-latent.
        y_int: float32 [1, M, rows, columns], integers in units of 1/16.
        hyper: the hyper graph's outputs by name; those that the synthesis reads, where steps were not asked for.
        steps: one record a step where they were asked for, else empty.
    """

    z: npt.NDArray[np.int32]
    y_int: npt.NDArray[np.float32]
    hyper: dict[str, npt.NDArray[Any]]
    steps: tuple[StepRecord, ...]
