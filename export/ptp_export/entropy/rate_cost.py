"""What an integer entropy path costs: the bytes of the same latents, coded with it and with the float networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_export.oracle.entropy_reference import CodedLatents
from ptp_model.context.schedule import Step
from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import StreamEncoder
from ptp_runtime.entropy_path import place_of
from ptp_runtime.manifest import ScheduleEntry
from ptp_runtime.tables import Tables

_PIXELS_PER_Y = 16


@dataclass(frozen=True)
class RateCost:
    """One photo at one rate, coded twice.

    Attributes:
        float_bytes, integer_bytes: of the streams; the headers are equally long.
    """

    float_bytes: int
    integer_bytes: int

    @property
    def share(self) -> float:
        """What the integer path takes more, as a share: 0.003 is 0.3 %."""
        return self.integer_bytes / self.float_bytes - 1


def total(costs: Sequence[RateCost]) -> RateCost:
    """All photos as one."""
    return RateCost(sum(cost.float_bytes for cost in costs), sum(cost.integer_bytes for cost in costs))


def stream_bytes(coded: CodedLatents, tables: Tables, schedule: Sequence[Step], skip_index: int) -> int:
    """Length of the stream of these latents, as the runtime's own coder makes it.

    Args:
        coded: of one image.
        tables: of the codec.
        schedule: of the steps.
        skip_index: as in the bundle.
    """
    rows, columns = coded.symbols.shape[2:]
    header = StreamHeader(
        identity=bytes(4),
        task=0,
        width=_PIXELS_PER_Y * columns,
        height=_PIXELS_PER_Y * rows,
        steps=len(schedule),
        skip_index=skip_index,
    )
    encoder = StreamEncoder(tables, header)
    encoder.z_step(coded.z[0])
    for step in schedule:
        place = place_of(ScheduleEntry(step.name, step.channels, step.region), rows, columns)
        index: NDArray[Any] = np.asarray(coded.graphs[step.name].outputs["index"])[0]
        symbols = np.ascontiguousarray(coded.symbols[0][place.box])
        encoder.step(np.where(place.coded(symbols), symbols, 0), index, place.channels.start, place.parity)
    return len(encoder.finish())
