"""The entropy graphs of the pocket model as an integer path: whole numbers in float32, as the real ones are.

A layer is ``clip(floor(convolution(x, W) + b), low, high)`` with W = integers · 2^-n and b = (integers + half of 2^n)
· 2^-n. Whatever adds exactly gets it right: in units of 2^-n, the sums stay below 2^24. Activations take up to 12 bits,
so that an arithmetic that keeps 11 (TF32, FP16) does not. Every kind of tensor of a real path is there: sums of a first
layer over the hyper parameters (``part_00``), a context that one step leaves for another (``context_01``), means in
real units for the synthesis alone (``mu_hyper``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LATENT_CHANNELS = 8
HYPER_CHANNELS = 2
WIDTH = 6
CONTEXT_LIMIT = 1023
ACTIVATION_LIMIT = 4095
MEAN_LIMIT = 8191

Array = npt.NDArray[Any]
Convolve = Callable[[str, Array, Array, Array], Array]
"""(name of the layer, x [C, h, w], weight [O, C, k, k], bias [O]) to [O, h, w]; SAME padding with zeros."""


def convolve_float32(layer: str, x: Array, weight: Array, bias: Array) -> Array:
    """The sums in float32, in whatever order numpy takes them."""
    sums: Array = _sums(x.astype(np.float32), weight.astype(np.float32)) + bias.astype(np.float32)[:, None, None]
    return sums


def convolve_float64(layer: str, x: Array, weight: Array, bias: Array) -> Array:
    """The sums in float64, which holds them with 29 bits to spare: what an exporter would compute in whole numbers."""
    exact: Array = _sums(x.astype(np.float64), weight.astype(np.float64)) + bias.astype(np.float64)[:, None, None]
    return exact.astype(np.float32)


def _sums(x: Array, weight: Array) -> Array:
    side = weight.shape[2]
    padded: Array = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    rows, columns = x.shape[1:]
    windows = np.stack([padded[:, r : r + rows, c : c + columns] for r in range(side) for c in range(side)])
    sums: Array = np.tensordot(weight.reshape(*weight.shape[:2], -1), windows, axes=([1, 2], [1, 0]))
    return sums


@dataclass(frozen=True)
class _Layer:
    """Weights of one layer, drawn from its name: integers within ``limit``, scaled by 2^-bits."""

    name: str
    inputs: int
    outputs: int
    side: int
    limit: int
    bits: int
    offset: int = 0

    def weights(self) -> tuple[Array, Array]:
        random = np.random.default_rng(zlib.crc32(self.name.encode()))
        scale = np.float32(2.0**-self.bits)
        weight = random.integers(-self.limit, self.limit + 1, (self.outputs, self.inputs, self.side, self.side))
        bias = random.integers(0, 64, self.outputs) + (self.offset << self.bits) + (1 << self.bits >> 1)
        return weight.astype(np.float32) * scale, bias.astype(np.float32) * scale

    def sums(self, x: Array, convolve: Convolve) -> Array:
        return convolve(self.name, x, *self.weights())

    def run(self, x: Array, convolve: Convolve, low: int, high: int) -> Array:
        return _activation(self.sums(x, convolve), low, high)


def _activation(sums: Array, low: int, high: int) -> Array:
    clipped: Array = np.clip(np.floor(sums), low, high).astype(np.float32)
    return clipped


def context_name(number: int) -> str:
    """What an anchor step leaves for the step behind it."""
    return f"context_{number + 1:02d}"


def hyper(inputs: Mapping[str, Array], steps: int, convolve: Convolve) -> dict[str, Array]:
    """The hyper graph: ``mu_hyper``, ``part_00`` …, and its layers by name.

    Args:
        inputs: ``z_hat`` float32 [1, Z, rows, columns].
        steps: of the schedule.
        convolve: the arithmetic.
    """
    z = np.clip(inputs["z_hat"][0], -CONTEXT_LIMIT, CONTEXT_LIMIT)
    first = _Layer("hyper/0", HYPER_CHANNELS, WIDTH, 3, 60, 3, 1500).run(z, convolve, 0, ACTIVATION_LIMIT)
    up = first.repeat(4, axis=1).repeat(4, axis=2)
    mean = _Layer("hyper/mu", WIDTH, LATENT_CHANNELS, 1, 20, 8).run(up, convolve, -CONTEXT_LIMIT, CONTEXT_LIMIT)
    tensors = {"hyper/0": first[None], "hyper/mu": mean[None], "mu_hyper": mean[None] * np.float32(1 / 16)}
    for number in range(steps):
        part = _Layer(f"hyper/part/{number}", WIDTH, WIDTH, 1, 40, 6, 1500).sums(up, convolve)
        tensors[f"part_{number:02d}"] = part.astype(np.float32)[None]
    return tensors


def step(
    inputs: Mapping[str, Array], number: int, channels: slice, region: str, box: tuple[slice, ...], convolve: Convolve
) -> dict[str, Array]:
    """One step: ``index``, ``mean``, the context that an anchor step leaves, and its layers by name.

    Args:
        inputs: ``part_k``, ``y_int`` and, for a non-anchor step, the context of the step before.
        number: of the step.
        channels, region, box: its place in the latent.
        convolve: the arithmetic.
    """
    name = f"step_{number:02d}"
    latent = np.clip(inputs["y_int"][0], -CONTEXT_LIMIT, CONTEXT_LIMIT)
    sums = (
        _Layer(f"{name}/0", LATENT_CHANNELS, WIDTH, 3, 12, 6).sums(latent, convolve) + inputs[f"part_{number:02d}"][0]
    )
    if region == "nonanchor":
        sums = sums + inputs[context_name(number - 1)][0]
    hidden = _activation(sums, 0, ACTIVATION_LIMIT)[box]
    count = channels.stop - channels.start
    index = _Layer(f"{name}/index", WIDTH, count, 1, 63, 14, 12).run(hidden, convolve, 0, 63)
    mean = _Layer(f"{name}/mean", WIDTH, count, 1, 63, 8).run(hidden, convolve, -MEAN_LIMIT, MEAN_LIMIT)
    tensors = {
        f"{name}/0": hidden[None],
        f"{name}/index": index[None],
        f"{name}/mean": mean[None],
        "index": index.astype(np.uint8)[None],
        "mean": mean.astype(np.int16)[None],
    }
    if region == "anchor":
        context = _Layer(f"{name}/context", WIDTH, WIDTH, 3, 63, 9)
        tensors[context_name(number)] = context.run(hidden, convolve, -CONTEXT_LIMIT, CONTEXT_LIMIT)[None]
        tensors[f"{name}/context"] = tensors[context_name(number)]
    return tensors


def layer_names(graph: str, region: str) -> tuple[str, ...]:
    """The layers of a graph, in the order of computation.

    Args:
        graph: ``hyper`` or ``step_00`` ….
        region: of the step; anything for the hyper graph.
    """
    if graph == "hyper":
        return "hyper/0", "hyper/mu"
    own = ("0", "index", "mean", "context") if region == "anchor" else ("0", "index", "mean")
    return tuple(f"{graph}/{layer}" for layer in own)
