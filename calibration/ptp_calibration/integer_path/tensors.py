"""What a layer reads and computes, on numpy arrays [C, h, w]: boxes of the latent, convolutions that keep the size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.network import QUADRANTS, Source

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """Neighbouring input channels of a layer that come from one tensor and one quadrant (or all of it).

    Attributes:
        tensor: as in :class:`Source`.
        channels: first and one-past-last channel of the tensor.
        box: ``all`` or the name of a quadrant.
    """

    tensor: str
    channels: tuple[int, int]
    box: str = "all"

    @property
    def width(self) -> int:
        """Number of channels."""
        return self.channels[1] - self.channels[0]


def pieces(sources: Iterable[Source], widths: Mapping[str, int]) -> tuple[Piece, ...]:
    """The sources one after the other: stacked quadrants one by one, neighbouring channels together.

    Args:
        sources: of a layer.
        widths: channels of every tensor.
    """
    found: list[Piece] = []
    for source in sources:
        first, last = source.channels or (0, widths[source.tensor])
        for box in QUADRANTS if source.box == "quadrants" else (source.box,):
            before = found[-1] if found else Piece("", (0, 0))
            if (before.tensor, before.box, before.channels[1]) == (source.tensor, box, first):
                found[-1] = Piece(source.tensor, (before.channels[0], last), box)
            else:
                found.append(Piece(source.tensor, (first, last), box))
    return tuple(found)


def some_channels(parts: Iterable[Piece], first: int, last: int) -> tuple[Piece, ...]:
    """What stands between two positions of the input that the pieces make up."""
    found, start = [], 0
    for piece in parts:
        low, high = max(first - start, 0), min(last - start, piece.width)
        if low < high:
            found.append(Piece(piece.tensor, (piece.channels[0] + low, piece.channels[0] + high), piece.box))
        start += piece.width
    return tuple(found)


def in_box(x: NDArray[Any], region: str) -> NDArray[Any]:
    """The quadrant of [..., h, w] that a region names, or all of it (a view)."""
    if region not in QUADRANTS:
        return x
    vertical, horizontal = region.split("-")
    half_h, half_w = x.shape[-2] // 2, x.shape[-1] // 2
    x = x[..., :half_h, :] if vertical == "top" else x[..., half_h:, :]
    return x[..., :half_w] if horizontal == "left" else x[..., half_w:]


def coded_positions(region: str, height: int, width: int) -> NDArray[np.bool_]:
    """Which positions of a region's box are coded: one colour of the checkerboard, or all."""
    if region not in ("anchor", "nonanchor"):
        return np.ones((height, width), bool)
    colour = (np.arange(height)[:, None] + np.arange(width)[None]) % 2
    return np.asarray(colour == (0 if region == "anchor" else 1))


def gathered(parts: Iterable[Piece], tensors: Mapping[str, Array], limits: Mapping[str, int]) -> Array:
    """The input of a layer: its pieces along channels, clipped to ± the tensor's limit where it has one."""
    found = []
    for piece in parts:
        x = in_box(tensors[piece.tensor][slice(*piece.channels)], piece.box)
        limit = limits.get(piece.tensor)
        found.append(x if limit is None else x.clip(-limit, limit))
    return np.concatenate(found)


def convolved(x: Array, weight: Array) -> Array:
    """Convolution of [I, h, w] with [O, I, k, k], zero padding that keeps the size, no bias: [O, h, w]."""
    inputs, height, width = x.shape
    side = weight.shape[-1]
    if side == 1:
        columns = x.reshape(inputs, -1)
    else:
        padded = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
        windows: Array = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))  # type: ignore[call-overload]
        columns = windows.transpose(0, 3, 4, 1, 2).reshape(inputs * side * side, -1)
    out: Array = (weight.reshape(len(weight), -1) @ columns).reshape(-1, height, width)
    return out


def shuffled(x: Array) -> Array:
    """PixelShuffle(2): [4C, h, w] → [C, 2h, 2w]."""
    channels, height, width = x.shape
    blocks = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return blocks.reshape(channels // 4, 2 * height, 2 * width)
