"""The coding loop over finished graphs, in ONNX Runtime: the bits that the converted path really needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from ptp_calibration.cpu_session import CpuSession
from ptp_calibration.integer_path.conversion.observe import coded_symbols
from ptp_calibration.integer_path.network import Y_INT, Z_HAT, EntropyNetwork, LatentSample
from ptp_calibration.integer_path.onnx_from_layers import HYPER


def coded_bits(
    network: EntropyNetwork, graphs: Mapping[str, onnx.ModelProto], samples: Sequence[LatentSample], threads: int = 0
) -> tuple[float, ...]:
    """Bits of y of each sample, coded with these graphs.

    Args:
        network: for its steps.
        graphs: ``hyper`` and the steps.
        samples: latents.
        threads: of ONNX Runtime; 0 lets it choose.
    """
    sessions = {name: CpuSession(model, threads) for name, model in graphs.items()}
    return tuple(_sample_bits(network, sessions, sample) for sample in samples)


def _sample_bits(network: EntropyNetwork, sessions: Mapping[str, CpuSession], sample: LatentSample) -> float:
    known: dict[str, NDArray[np.generic]] = {Z_HAT: sample.z[None].astype(np.float32)}
    y_int = np.zeros(sample.y.shape, np.float32)
    known[Y_INT] = y_int[None]

    def run(name: str) -> dict[str, NDArray[np.generic]]:
        return sessions[name].run({wanted: known[wanted] for wanted in sessions[name].inputs})

    known.update(run(HYPER))
    bits = 0.0
    for step in network.steps:
        outputs = run(step.name)
        index, mean = outputs.pop("index")[0], outputs.pop("mean")[0]
        bits += coded_symbols(sample.y, index.astype(np.uint8), mean.astype(np.int16), step, network.skip_index, y_int)
        known.update(outputs)
    return bits
