"""The golden test of the pocket model's integer entropy path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.entropy_path import place_of, write_decoded
from ptp_runtime.golden import GoldenStep, GoldenTest, value_digest
from ptp_runtime.manifest import ScheduleEntry
from ptp_runtime.selftest.pocket_integer import (
    CONTEXT_LIMIT,
    HYPER_CHANNELS,
    LATENT_CHANNELS,
    context_name,
    convolve_float64,
    layer_names,
)
from ptp_runtime.selftest.pocket_model import SCHEDULES, PocketModel

ROWS, COLUMNS = 2, 3
_SEED = 3

Arrays = Mapping[str, npt.NDArray[Any]]


@cache
def pocket_golden(model: PocketModel) -> GoldenTest:
    """What exact arithmetic computes from numbers that reach every limit of the path."""
    random = np.random.default_rng(_SEED)
    z_hat = random.integers(-60, 61, (HYPER_CHANNELS, ROWS, COLUMNS), dtype=np.int16)
    z_hat[0, 0, 0], z_hat[1, 1, 2] = CONTEXT_LIMIT + 500, -CONTEXT_LIMIT - 500
    q = np.rint(random.laplace(0, 6, (LATENT_CHANNELS, 4 * ROWS, 4 * COLUMNS))).astype(np.int16)
    q[-1, 0, 0], q[0, 7, 11] = 1000, -1000
    tensors = model.function("hyper", convolve_float64)({"z_hat": z_hat[None].astype(np.float32)})
    schedule = SCHEDULES[model.context]
    outputs = {f"part_{k:02d}": value_digest(tensors[f"part_{k:02d}"]) for k in range(len(schedule))}
    layers = _digests(tensors, layer_names("hyper", ""))
    latent = np.zeros((1, *q.shape), np.float32)
    steps = []
    for number, (start, stop, region) in enumerate(schedule):
        name = f"step_{number:02d}"
        tensors |= model.function(name, convolve_float64)({**tensors, "y_int": latent})
        index, mean = tensors["index"][0], tensors["mean"][0]
        further = (context_name(number),) if region == "anchor" else ()
        own = _digests(tensors, layer_names(name, region))
        steps.append(GoldenStep((start, stop), region, index, mean, _digests(tensors, further), own))
        place = place_of(ScheduleEntry(name, (start, stop), region), *q.shape[1:])
        write_decoded(latent[0], q[place.box].astype(np.int32), mean, place)
    return GoldenTest(z_hat, q, tuple(steps), outputs, layers)


def _digests(tensors: Arrays, names: tuple[str, ...]) -> dict[str, int]:
    return {name: value_digest(tensors[name]) for name in names}
