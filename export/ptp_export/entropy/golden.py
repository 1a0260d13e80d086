"""The golden test of a bundle: real latents with extremes beside them, and what the oracle makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ptp_calibration.integer_path import IntegerOracle, LatentSample
from ptp_export.sizes import PAD_MULTIPLE, Size, SizeRange
from ptp_model.context.schedule import Step
from ptp_model.quantization import CONTEXT_LIMIT, MEAN_STEPS
from ptp_runtime.entropy_path import place_of, write_decoded
from ptp_runtime.golden import GoldenStep, GoldenTest, value_digest
from ptp_runtime.manifest import HYPER_GRAPH, ScheduleEntry

#: Rows and columns of the golden hyper-latent. Extremes stand in the last column, so that what is computed of the
#: first ones stays within what photographs show.
ROWS, COLUMNS = 2, 6
FACTOR = 4
_SEED = 20251


def golden_test(
    graphs: Mapping[str, onnx.ModelProto], sample: LatentSample, schedule: Sequence[Step], skip_index: int
) -> GoldenTest:
    """Compute the test with the integer oracle; no floating-point convolution takes part.

    Args:
        graphs: ``hyper`` and the steps, of dynamic size.
        sample: of a calibration photograph.
        schedule: of the steps.
        skip_index: as in the manifest.
    """
    oracle = IntegerOracle(graphs)
    z_hat, y = _stimulus(sample)
    needed = {name: {value.name for value in model.graph.input} for name, model in graphs.items()}
    read = set().union(*(needed[step.name] for step in schedule))
    given: dict[str, NDArray[Any]] = {"z_hat": z_hat[None].astype(np.int64)}
    known, outputs, layers = _computed(oracle, HYPER_GRAPH, given, read)
    latent = np.zeros((1, *y.shape), np.float32)
    q = np.zeros(y.shape, np.int16)
    steps = []
    for number, step in enumerate(schedule):
        inputs = known | {"y_int": latent.astype(np.int64)}
        later = set().union(*(needed[other.name] for other in schedule[number + 1 :]))
        found, carried, own = _computed(oracle, step.name, {name: inputs[name] for name in needed[step.name]}, later)
        index, mean = found["index"][0].astype(np.uint8), found["mean"][0].astype(np.int16)
        place = place_of(ScheduleEntry(step.name, step.channels, step.region), *y.shape[1:])
        symbols = _symbols(y[place.box], index, mean, skip_index)
        symbols = np.where(place.coded(symbols), symbols, 0)
        q[place.box] = np.where(place.coded(symbols), symbols, q[place.box])
        write_decoded(latent[0], symbols, mean, place)
        known |= {name: found[name] for name in carried}
        steps.append(GoldenStep(step.channels, step.region, index, mean, carried, own))
    return GoldenTest(z_hat, q, tuple(steps), outputs, layers)


def covering_golden(sizes: SizeRange) -> SizeRange:
    """Photo sizes that include the golden test's: an engine that cannot run the test is not trusted."""
    rows, columns = ROWS * PAD_MULTIPLE, COLUMNS * PAD_MULTIPLE
    low, high = sizes.smallest, sizes.largest
    return SizeRange(
        Size(min(low.height, rows), min(low.width, columns)),
        sizes.typical,
        Size(max(high.height, rows), max(high.width, columns)),
    )


def _computed(
    oracle: IntegerOracle, name: str, inputs: Mapping[str, NDArray[Any]], read: set[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, int], dict[str, int]]:
    """A graph's outputs, and the digests of those that are read later and of every layer's tensor."""
    outputs: dict[str, NDArray[Any]] = dict(oracle.run(name, inputs))
    values = oracle.floats(name, outputs)
    digests = {tensor: value_digest(value) for tensor, value in values.items() if tensor in read}
    layers = {layer: value_digest(value) for layer, value in oracle.layers(name, inputs).items() if layer not in values}
    return outputs, digests, layers


def _stimulus(sample: LatentSample) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """z [Z, 2, 6] and y [M, 8, 24]: the photograph repeated to the size, with extremes in y and in z's last column."""
    z = _tiled(np.clip(sample.z, -CONTEXT_LIMIT, CONTEXT_LIMIT).astype(np.int16), ROWS, COLUMNS)
    y = _tiled(sample.y, FACTOR * ROWS, FACTOR * COLUMNS)
    generator = np.random.default_rng(_SEED)
    z[:, :, -1] *= 4
    beyond = generator.choice(np.array([-1, 1]), len(z)) * (CONTEXT_LIMIT + generator.integers(0, 100, len(z)))
    # One channel in eight: were all at their limits, every activation would be at its own and hide what it is made of.
    z[::8, 0, -1] = beyond[::8]
    y *= generator.choice(np.array([1.0, 4.0, 40.0]), y.shape, p=[0.97, 0.02, 0.01])
    return z, y.astype(np.float32)


def _tiled(values: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The middle of an array [C, h, w], repeated where it is too small."""
    top, left = max(0, (values.shape[1] - rows) // 2), max(0, (values.shape[2] - columns) // 2)
    part = values[:, top : top + rows, left : left + columns]
    return np.tile(part, (1, -(-rows // part.shape[1]), -(-columns // part.shape[2])))[:, :rows, :columns].copy()


def _symbols(
    y: NDArray[np.float32], index: NDArray[np.uint8], mean: NDArray[np.int16], skip_index: int
) -> NDArray[np.int32]:
    """Residuals as an encoder rounds them."""
    symbols = np.clip(np.rint(y - mean / MEAN_STEPS), -CONTEXT_LIMIT, CONTEXT_LIMIT).astype(np.int32)
    return np.where(index < skip_index, np.int32(0), symbols)
