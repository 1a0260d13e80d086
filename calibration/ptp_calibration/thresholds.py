"""The thresholds of chosen activations of a graph, measured on real inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from ptp_calibration.cpu_session import CpuSession
from ptp_calibration.errors import CalibrationError
from ptp_calibration.histogram import Histogram
from ptp_calibration.observers import OBSERVERS


def observe(
    model: onnx.ModelProto,
    names: Sequence[str],
    samples: Iterable[Mapping[str, NDArray[np.generic]]],
    threads: int = 0,
) -> dict[str, Histogram]:
    """Run the graph on every sample and count the values of the named tensors.

    Args:
        model: FP32 graph; not changed.
        names: of float32 inputs and inner tensors.
        samples: one mapping of input name → array each; real data, never random tensors.
        threads: of ONNX Runtime; 0 lets it choose.

    Raises:
        CalibrationError: no sample, one that the graph does not take, or a tensor that is not finite.
    """
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    given = {value.name for value in model.graph.input}
    present = {value.name for value in model.graph.output}
    inner = [name for name in names if name not in given]
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner if name not in present)
    session = CpuSession(shown, threads)
    found = {name: Histogram.empty() for name in names}
    count = 0
    for sample in samples:
        count += 1
        values = session.run(sample, inner) if inner else {}
        for name in names:
            tensor = np.asarray(sample[name] if name in given else values[name])
            try:
                found[name].add(tensor.astype(np.float32, copy=False))
            except CalibrationError as error:
                raise CalibrationError(f"{name}, sample {count}: {error}") from error
    if not count:
        raise CalibrationError("no sample was given; expected at least one real photo")
    return found


def thresholds(histograms: Mapping[str, Histogram], observer: str) -> dict[str, float]:
    """Each tensor's threshold by one of :data:`~ptp_calibration.observers.OBSERVERS`.

    Raises:
        CalibrationError: no such observer.
    """
    if observer not in OBSERVERS:
        raise CalibrationError(f"there is no observer {observer!r}; expected one of {', '.join(OBSERVERS)}")
    return {name: OBSERVERS[observer](histogram) for name, histogram in histograms.items()}
