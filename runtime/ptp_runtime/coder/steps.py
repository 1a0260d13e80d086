"""What a coding step is, and the checks that encoder and decoder make on the arrays of one."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream.prefix import MAX_CHANNELS
from ptp_runtime.errors import UsageError

MAX_POSITIONS = 2**31 - 1
"""Positions of one step: they are counted in 32 bits."""


class Parity(IntEnum):
    """Which positions of a step's box belong to it.

    ALL: every position. EVEN: those with (row + column) even, the anchors of a checkerboard. ODD: the others.
    """

    ALL = 0
    EVEN = 1
    ODD = 2


def flat_indexes(indexes: npt.NDArray[Any], first_channel: int) -> npt.NDArray[np.uint8]:
    """The scale indices of a step as one row in C order.

    Args:
        indexes: uint8 [g, rows, columns].
        first_channel: which channel of the latent ``indexes[0]`` is.

    Raises:
        UsageError: another dtype, another number of axes, or channels beyond the limit.
    """
    if indexes.dtype != np.uint8:
        raise UsageError("scale indices", expected="uint8", got=str(indexes.dtype))
    check_shape("scale indices", indexes.shape)
    if first_channel < 0 or first_channel + indexes.shape[0] > MAX_CHANNELS:
        raise UsageError(
            "channels of a step", expected=f"0 … {MAX_CHANNELS}", got=f"{first_channel} + {indexes.shape[0]}"
        )
    return np.ascontiguousarray(indexes).reshape(-1)


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Three axes and a number of positions that 32 bits can count.

    Raises:
        UsageError: otherwise.
    """
    if len(shape) != 3:
        raise UsageError(name, expected="an array [channels, rows, columns]", got=f"shape {shape}")
    if shape[0] * shape[1] * shape[2] > MAX_POSITIONS:
        raise UsageError(name, expected=f"at most {MAX_POSITIONS} positions in a step", got=f"shape {shape}")
