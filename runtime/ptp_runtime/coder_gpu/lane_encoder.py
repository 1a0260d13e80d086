"""The encoder's inner loop on a GPU: symbols, already collected and ordered, to lane states and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.coder_gpu.device import GpuDevice

WARP = 32


def encode_lanes(
    device: GpuDevice,
    keys: Sequence[npt.NDArray[np.uint32]],
    bounds: Sequence[npt.NDArray[Any]],
    entries: npt.NDArray[np.uint32],
    states: Sequence[npt.NDArray[np.uint32]],
) -> list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]]:
    """What ``encode_kernels.encode_lanes`` does, for several streams at once.

    Args:
        keys: of each stream (``coder.lookups``).
        bounds: of each stream: where each step begins and the last one ends; all have the same number of steps.
        entries: ``Lookups.encode_entries``.
        states: of each stream: what its lanes begin with; all have the same number of lanes.

    Returns:
        For each stream what its lanes end with, and its words.
    """
    streams, lanes, steps = len(keys), states[0].size, bounds[0].size - 1
    starts = np.concatenate([[0], np.cumsum([part.size for part in keys])])
    all_bounds = np.stack([bound + start for bound, start in zip(bounds, starts[:-1], strict=True)])
    all_states = np.zeros((streams, WARP), np.uint32)
    all_states[:, :lanes] = np.stack(states)
    words, first = np.zeros(max(1, int(starts[-1])), np.uint16), np.zeros(streams, np.uint32)
    inputs = (np.concatenate(keys), all_bounds.astype(np.uint32), entries, all_states, words, first)
    key_data, bound_data, entry_data, state_data, word_data, first_data = (
        device.upload(np.ascontiguousarray(array)) for array in inputs
    )
    device.launch(
        "ptp_encode_lanes",
        streams,
        *(key_data, bound_data, np.uint32(steps), np.uint32(lanes), entry_data, state_data, word_data, first_data),
    )
    for handle, array in ((state_data, all_states), (word_data, words), (first_data, first)):
        device.download(handle, array)
    for handle in (key_data, bound_data, entry_data, state_data, word_data, first_data):
        device.free(handle)
    return [
        (all_states[number, :lanes].copy(), words[int(first[number]) : int(all_bounds[number, -1])].copy())
        for number in range(streams)
    ]
