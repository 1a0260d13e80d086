"""The float network over the samples, step by step as the encoder runs it: what is coded, how every tensor behaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.conversion.bits import SYMBOL_LIMIT, symbol_bits
from ptp_calibration.integer_path.errors import ConversionError
from ptp_calibration.integer_path.network import (
    HYPER_FACTOR,
    HYPER_PARAMETERS,
    Y_INT,
    Z_HAT,
    EntropyNetwork,
    LatentSample,
    Layer,
    StepNetwork,
)
from ptp_calibration.integer_path.precision import CONTEXT_LIMIT, MEAN_LIMIT, SCALE_LEVELS
from ptp_calibration.integer_path.tensors import Array, coded_positions, convolved, gathered, in_box, pieces, shuffled

#: Sixteenths: the unit of means and decoded latents (ptp_model.quantization: MEAN_STEPS).
MEAN_STEPS = 16
#: The float path clips what its contexts read of the latent; everything else it reads as it is.
FLOAT_LIMITS: Mapping[str, int] = {Y_INT: CONTEXT_LIMIT}
#: Positions kept of each tensor, over all samples together.
POSITIONS = 4096


@dataclass(frozen=True)
class TensorStatistics:
    """What one tensor of the float network did over the samples.

    Attributes:
        values: float32 [C, n], some positions of every sample, spread evenly.
        largest: largest magnitude of each channel over all positions, float64 [C].
        second_moment: mean square of each channel over all positions, float64 [C].
    """

    values: Array
    largest: NDArray[np.float64]
    second_moment: NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """One run of the float path over all samples.

    Attributes:
        tensors: statistics of ``z_hat``, ``y_int`` and every layer's output.
        means: layer's name → mean of its outputs before the bias, float64 [O].
        y_int: decoded latents of each sample in sixteenths, float32 [M, 4h, 4w].
        bits: of y, of each sample.
    """

    tensors: Mapping[str, TensorStatistics]
    means: Mapping[str, NDArray[np.float64]]
    y_int: tuple[Array, ...]
    bits: tuple[float, ...]


def joined(seen: Sequence[Observation]) -> Observation:
    """The observations of several tasks as one, each task with the same weight."""
    if len(seen) == 1:
        return seen[0]
    names = seen[0].tensors
    tensors = {}
    for name in names:
        each = [observation.tensors[name] for observation in seen]
        tensors[name] = TensorStatistics(
            np.concatenate([one.values for one in each], 1),
            np.max([one.largest for one in each], 0),
            np.mean([one.second_moment for one in each], 0),
        )
    means = {name: np.mean([observation.means[name] for observation in seen], 0) for name in seen[0].means}
    y_int = tuple(each for observation in seen for each in observation.y_int)
    return Observation(tensors, means, y_int, tuple(bits for observation in seen for bits in observation.bits))


def coded_symbols(
    y: Array, index: NDArray[np.uint8], mean: NDArray[np.int16], step: StepNetwork, skip_index: int, y_int: Array
) -> float:
    """Code one step as the encoder does: residuals, what the decoder will have, and their bits.

    Args:
        y: [M, 4h, 4w], not rounded.
        index, mean: of the step, over the box of its region.
        step: which part is coded.
        skip_index: smaller indices are not coded.
        y_int: [M, 4h, 4w] in sixteenths; the step's positions are written.

    Returns:
        bits of the step's residuals.
    """
    channels = slice(*step.channels)
    target = in_box(y_int[channels], step.region)
    coded = coded_positions(step.region, *target.shape[-2:])[None]
    residual = np.rint(in_box(y[channels], step.region) - mean.astype(np.float32) / MEAN_STEPS)
    written = coded & (index >= skip_index)
    q = np.where(written, residual.clip(-SYMBOL_LIMIT, SYMBOL_LIMIT), 0).astype(np.int32)
    np.copyto(target, (q * MEAN_STEPS + mean).astype(np.float32), where=np.broadcast_to(coded, target.shape))
    return symbol_bits(q[written], index[written])


def observe(network: EntropyNetwork, samples: Sequence[LatentSample]) -> Observation:
    """Run the float path over the samples.

    Raises:
        ConversionError: no sample, or one that does not fit the network.
    """
    check_samples(network, samples)
    collector = _Collector(len(samples))
    decoded, bits = [], []
    for sample in samples:
        y_int, cost = _observe_sample(network, sample, collector)
        decoded.append(y_int)
        bits.append(cost)
    return Observation(collector.statistics(), collector.means(), tuple(decoded), tuple(bits))


def check_samples(network: EntropyNetwork, samples: Sequence[LatentSample]) -> None:
    """Raise :class:`ConversionError` where there is no sample or one does not fit."""
    if not samples:
        raise ConversionError("no sample was given; expected latents of at least one real photo")
    for number, sample in enumerate(samples):
        height, width = sample.z.shape[1:] if sample.z.ndim == 3 else (0, 0)
        wanted = (network.latent_channels, HYPER_FACTOR * height, HYPER_FACTOR * width)
        if sample.z.shape != (network.hyper_channels, height, width) or sample.y.shape != wanted or not height * width:
            raise ConversionError(
                f"sample {number} has z {sample.z.shape} and y {sample.y.shape}; expected [{network.hyper_channels}, "
                f"h, w] and [{network.latent_channels}, 4h, 4w]"
            )
        if sample.z.dtype != np.int32 or sample.y.dtype != np.float32 or not np.isfinite(sample.y).all():
            raise ConversionError(
                f"sample {number} has {sample.z.dtype} z and {sample.y.dtype} y; expected int32 and finite float32"
            )


def _observe_sample(network: EntropyNetwork, sample: LatentSample, collector: _Collector) -> tuple[Array, float]:
    live: dict[str, Array] = {Z_HAT: sample.z.astype(np.float32)}
    widths = {Z_HAT: network.hyper_channels, Y_INT: network.latent_channels}
    collector.add(Z_HAT, live[Z_HAT])

    def compute(layer: Layer) -> None:
        x = convolved(gathered(pieces(layer.inputs, widths), live, FLOAT_LIMITS), layer.weight)
        collector.add_mean(layer.name, x)
        x += layer.bias[:, None, None]
        if layer.relu:
            np.maximum(x, 0, out=x)
        live[layer.name] = shuffled(x) if layer.shuffle else x
        widths[layer.name] = layer.channels
        collector.add(layer.name, live[layer.name])

    for layer in network.hyper:
        compute(layer)
    live = {name: live[name] for name in HYPER_PARAMETERS}
    live[Y_INT] = np.zeros(sample.y.shape, np.float32)
    shared = network.shared_layers()
    bits = 0.0
    for step in network.steps:
        for layer in step.layers:
            compute(layer)
        mean, index = (
            np.floor(gathered(pieces([head], widths), live, {}) + np.float32(0.5)) for head in (step.mean, step.index)
        )
        bits += coded_symbols(
            sample.y,
            index.clip(0, SCALE_LEVELS - 1).astype(np.uint8),
            mean.clip(-MEAN_LIMIT, MEAN_LIMIT).astype(np.int16),
            step,
            network.skip_index,
            live[Y_INT],
        )
        for layer in step.layers:
            if layer.name not in shared[step.name]:
                del live[layer.name]
    collector.add(Y_INT, live[Y_INT])
    return live[Y_INT], bits


class _Collector:
    """Statistics of tensors, sample after sample."""

    def __init__(self, samples: int) -> None:
        self._each = max(1, POSITIONS // samples)
        self._values: dict[str, list[Array]] = {}
        self._largest: dict[str, NDArray[np.float64]] = {}
        self._squares: dict[str, NDArray[np.float64]] = {}
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, x: Array) -> None:
        """A tensor [C, h, w] of the next sample."""
        flat = x.reshape(len(x), -1)
        stride = -(-flat.shape[1] // self._each)
        # A stride that shares a factor with the width would see some columns only.
        offset = len(self._values.get(name, ())) % stride
        self._values.setdefault(name, []).append(flat[:, offset::stride].copy())
        largest = np.maximum(flat.max(1), -flat.min(1)).astype(np.float64)
        self._largest[name] = np.maximum(self._largest.get(name, 0.0), largest)
        self._squares[name] = self._squares.get(name, 0.0) + np.square(flat, dtype=np.float64).sum(1)
        self._counts[name] = self._counts.get(name, 0) + flat.shape[1]

    def add_mean(self, layer: str, x: Array) -> None:
        """A layer's outputs [O, h, w] before its bias."""
        key = f"{layer}/mean"
        self._sums[key] = self._sums.get(key, 0.0) + x.sum((1, 2), dtype=np.float64)
        self._counts[key] = self._counts.get(key, 0) + x.shape[1] * x.shape[2]

    def statistics(self) -> dict[str, TensorStatistics]:
        return {
            name: TensorStatistics(
                np.concatenate(values, 1), self._largest[name], self._squares[name] / self._counts[name]
            )
            for name, values in self._values.items()
        }

    def means(self) -> dict[str, NDArray[np.float64]]:
        return {key.removesuffix("/mean"): total / self._counts[key] for key, total in self._sums.items()}
