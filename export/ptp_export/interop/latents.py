"""Latents of real photos: what the streams of the comparison are made of. Analysis runs once, for all encoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_calibration import PhotoSet
from ptp_export.oracle.photo_sizes import fit_photo
from ptp_export.sizes import Size
from ptp_runtime.backends.selection import open_backend
from ptp_runtime.bundle import Bundle
from ptp_runtime.bundle_files import read_gains
from ptp_runtime.coded_photo import coded_pixels
from ptp_runtime.entropy_path import run_graph
from ptp_runtime.errors import UsageError
from ptp_runtime.images import network_input, padded_size
from ptp_runtime.rate import Rate

#: Pieces of photos that are coded in turn; None: the whole photo. Two are no multiples of 64 and one is one block only.
PIECES: tuple[Size | None, ...] = (None, Size(192, 256), Size(161, 225), Size(64, 64), Size(65, 190))


@dataclass(frozen=True)
class Piece:
    """A part of a photo, and the rate at which it is coded.

    Attributes:
        photo: its name.
        pixels: uint8 [H, W, 3].
        rate: number of the rate.
    """

    photo: str
    pixels: NDArray[np.uint8]
    rate: int


@dataclass(frozen=True)
class LatentItem:
    """What one piece gives the encoders.

    Attributes:
        piece: it comes from.
        size: of the piece and of what the codec was given.
        y: float32 [1, M, rows, columns], gain included.
        z: float32 [1, Z, rows/4, columns/4].
    """

    piece: Piece
    size: Rate
    y: NDArray[Any]
    z: NDArray[Any]

    @property
    def symbols(self) -> int:
        """Symbols of y; each has a scale index and a mean that two machines must agree on."""
        return int(self.y.size)


def pieces(photos: PhotoSet, bundle: Bundle, sizes: Sequence[Size | None] = PIECES) -> Iterator[Piece]:
    """Pieces of the photos without end: each round takes every photo, with other sizes, rates and places than before.

    Args:
        photos: read again in every round.
        bundle: whose sizes and rates count.
        sizes: of the pieces, in turn; larger ones than a photo take all of it.

    Raises:
        UsageError: there are no photos, or the bundle takes none of the sizes.
    """
    if not len(photos):
        raise UsageError("there is nothing to compare", expected="at least one photo", got="none")
    manifest = bundle.manifest
    rates = 1 if manifest.entropy.rates is None else manifest.entropy.rates.count
    pre = manifest.preprocessing
    fixed = (
        Size(pre.height[0], pre.width[0]) if (pre.height[0], pre.width[0]) == (pre.height[1], pre.width[1]) else None
    )
    for number in count():
        found = 0
        for i, photo in enumerate(photos):
            piece = _cut(photo.image, sizes[(i + number) % len(sizes)], number)
            if fixed is not None and pre.resize is None:
                piece = fit_photo(piece, fixed)
            if _is_taken(bundle, piece):
                found += 1
                yield Piece(photo.name, piece, (i + 2 * number) % rates)
        if not found and number >= len(sizes):
            raise UsageError(
                "the bundle takes none of the photos",
                expected=f"padded heights from {pre.height[0]} to {pre.height[1]}, widths from {pre.width[0]} to"
                f" {pre.width[1]}",
                got=", ".join(f"{p.name} {p.image.shape[0]}×{p.image.shape[1]}" for p in islice(photos, 4)),
                hint="give larger or smaller photos with --photos",
            )


def _cut(pixels: NDArray[np.uint8], size: Size | None, number: int) -> NDArray[np.uint8]:
    """A piece at another place in each round."""
    if size is None:
        return pixels
    height, width = min(size.height, pixels.shape[0]), min(size.width, pixels.shape[1])
    generator = np.random.default_rng(number)
    top = generator.integers(pixels.shape[0] - height + 1)
    left = generator.integers(pixels.shape[1] - width + 1)
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _is_taken(bundle: Bundle, pixels: NDArray[np.uint8]) -> bool:
    pre = bundle.manifest.preprocessing
    coded = coded_pixels(pixels, pre.resize)
    rows, columns = padded_size(coded.shape[0], coded.shape[1], pre.multiple)
    return pre.height[0] <= rows <= pre.height[1] and pre.width[0] <= columns <= pre.width[1]


class Analysis:
    """The bundle's analysis graph in ONNX Runtime on the CPU.

    Args:
        bundle: opened.
        threads: of ONNX Runtime; None: the cores that this process may use.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self._manifest = bundle.manifest
        self._gains = read_gains(bundle)
        self._entry = bundle.manifest.graph_of_role("analysis")
        self._graph = open_backend("cpu", threads).load(bundle, self._entry)

    def __call__(self, piece: Piece) -> LatentItem:
        """The latents of one piece.

        Raises:
            EngineError: the graph failed.
        """
        pre = self._manifest.preprocessing
        coded = coded_pixels(piece.pixels, pre.resize)
        tensors: dict[str, NDArray[Any]] = {"image": network_input(coded, pre.multiple, pre.lead_multiple)}
        if self._gains is not None:
            tensors["gain"] = self._gains.vector(piece.rate)
        found = run_graph(self._graph, self._entry, tensors)
        size = Rate(0, coded.shape[0], coded.shape[1], piece.pixels.shape[0], piece.pixels.shape[1])
        return LatentItem(piece, size, found["y"], found["z"])

    def close(self) -> None:
        """Free the graph."""
        self._graph.close()
