"""Photographs in memory while they fit, read anew where they do not: COCO 2017 is 100 GB of pixels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image, UnidentifiedImageError

from ptp_model.training.data import LabelError, Pixels

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

#: Pixels kept in memory unless told otherwise, bytes.
BUDGET_BYTES = 4 << 30


def photo_files(folders: Iterable[Path]) -> list[Path]:
    """Photographs below the folders, in sorted order."""
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def size_of(path: Path) -> tuple[int, int]:
    """Height and width in pixels, from the file's header.

    Raises:
        LabelError: not a picture.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, UnidentifiedImageError) as error:
        raise LabelError(f"{path.name}: expected a readable image, got {error}") from error


def read_photo(path: Path) -> Pixels:
    """RGB uint8 [H, W, 3].

    Raises:
        LabelError: not a picture, or a broken one.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise LabelError(f"{path.name}: expected a readable image, got {error}") from error


class PhotoStore(Sequence[Pixels]):
    """Pictures by number, each made by its reader when it is first asked for. Safe to use from several threads.

    Args:
        readers: one a picture; must give the same pixels every time.
        budget_bytes: once the kept pictures reach it, further ones are read every time.
    """

    def __init__(self, readers: Sequence[Callable[[], Pixels]], budget_bytes: int = BUDGET_BYTES) -> None:
        self._readers, self._left = readers, budget_bytes
        self._kept: dict[int, Pixels] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._readers)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pixels]: ...
    def __getitem__(self, index: int | slice) -> Pixels | Sequence[Pixels]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        found = self._kept.get(number)
        if found is not None:
            return found
        pixels = self._readers[number]()
        with self._lock:
            if number not in self._kept and pixels.nbytes <= self._left:
                self._kept[number] = pixels
                self._left -= pixels.nbytes
        return pixels
