"""The network in whole numbers: what the conversion makes and the ONNX files hold. Each layer is

    y = clip((Σ over terms + bias) >> grid, low, high)

``grid`` is per output channel; the bias carries the rounding offset of one half. A layer that fits one accumulator has
terms on its own grid. One that is too wide has terms on finer grids, each rounded to the layer's before they are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.network import HYPER_PARAMETERS, Y_INT, Z_HAT, EntropyNetwork
from ptp_calibration.integer_path.tensors import Array, Piece, convolved, gathered, shuffled

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Term:
    """One convolution of a layer.

    Attributes:
        pieces: what it reads, along channels.
        weight: int64 [O, I, k, k].
        shift: int64 [O]: its accumulator is in units of 2^-shift; at least the layer's grid.
    """

    pieces: tuple[Piece, ...]
    weight: Integers
    shift: Integers

    @property
    def of_hyper(self) -> bool:
        """Whether it reads hyper parameters: in a step it is computed beforehand, in the hyper graph."""
        return all(piece.tensor in HYPER_PARAMETERS for piece in self.pieces)


@dataclass(frozen=True)
class IntegerLayer:
    """Convolutions, a shift and a clip.

    Attributes:
        name: of the layer in the network.
        terms: at least one; those of hyper parameters first.
        bias: int64 [O], in units of 2^-grid, rounding offset included.
        grid: int64 [O], at least 1.
        low, high: of the clip.
        shuffle: whether PixelShuffle(2) follows.
    """

    name: str
    terms: tuple[Term, ...]
    bias: Integers
    grid: Integers
    low: int
    high: int
    shuffle: bool

    @property
    def hyper_terms(self) -> tuple[Term, ...]:
        """Terms that a step leaves to the hyper graph."""
        return tuple(term for term in self.terms if term.of_hyper)

    def is_cut(self, term: Term) -> bool:
        """Whether a term is rounded to the layer's grid before it is added."""
        return bool((term.shift > self.grid).any())

    def accumulated(self, tensors: Mapping[str, Array], limits: Mapping[str, int]) -> Array:
        """The terms' sum in units of 2^-grid, float32 [O, h, w] with whole values (exact: all stay below 2^24)."""
        total: Array = np.zeros((), np.float32)
        for term in self.terms:
            out = convolved(gathered(term.pieces, tensors, limits), term.weight.astype(np.float32))
            if self.is_cut(term):
                finer = (term.shift - self.grid).astype(np.int32)[:, None, None]
                out = np.floor(np.ldexp(out, -finer) + np.float32(0.5) * (finer > 0))
            total = total + out
        return total

    def finished(self, accumulated: Array) -> Array:
        """Bias, shift, clip and pixel shuffle: the layer's tensor."""
        out = self._shifted(accumulated).clip(self.low, self.high)
        return shuffled(out) if self.shuffle else out

    def clipped(self, accumulated: Array) -> int:
        """How many of its activations the clip changes; zeros of a ReLU are not counted."""
        out = self._shifted(accumulated)
        return int((out > self.high).sum()) + (int((out < self.low).sum()) if self.low else 0)

    def _shifted(self, accumulated: Array) -> Array:
        sums = accumulated + self.bias.astype(np.float32)[:, None, None]
        out: Array = np.floor(np.ldexp(sums, -self.grid.astype(np.int32)[:, None, None]))
        return out


@dataclass(frozen=True)
class Unit:
    """How a tensor's integers are to be read.

    Attributes:
        scale: real value of one integer step, float64 [C].
        limit: the tensor is clipped to ± this (to 0 … this after a ReLU).
    """

    scale: NDArray[np.float64]
    limit: int


@dataclass(frozen=True)
class IntegerNetwork:
    """All layers converted.

    Attributes:
        network: the float one, for its structure.
        layers: by name.
        units: of ``z_hat``, ``y_int`` and every layer's tensor, as the layers that read it see it.
        mu_shift: ``mu_hyper`` comes out finer than its readers in the entropy path want it, for the synthesis, which
            gets it in real units: they read it shifted to the right by this much.
    """

    network: EntropyNetwork
    layers: Mapping[str, IntegerLayer]
    units: Mapping[str, Unit]
    mu_shift: int

    def widths(self) -> dict[str, int]:
        """Channels of every tensor."""
        found = {Z_HAT: self.network.hyper_channels, Y_INT: self.network.latent_channels}
        layers = (*self.network.hyper, *(layer for step in self.network.steps for layer in step.layers))
        return found | {layer.name: layer.channels for layer in layers}
