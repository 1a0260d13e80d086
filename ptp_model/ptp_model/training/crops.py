"""Random crops of a folder of photographs: what stage 1 learns from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ptp_model.training.data import Pixels
from ptp_model.training.photo_store import PhotoStore, photo_files, read_photo, size_of


class PhotoCrops:
    """Endless batches of crops, reproducible from (seed, step) alone, so that a resumed run sees what it would have.

    Args:
        places: photographs, and folders of them, which are searched recursively; all together in sorted order.
        crop: side in pixels.
        seed: of the crops' random numbers.
        exclude: file stems that must never be trained on.
        smallest_scale: a crop is scaled down by a factor drawn between this and 1.

    Raises:
        FileNotFoundError: no photograph with both sides of at least 3/4 ``crop`` was found.
    """

    def __init__(
        self,
        places: Sequence[Path],
        crop: int,
        seed: int,
        exclude: frozenset[str] = frozenset(),
        smallest_scale: float = 0.5,
    ) -> None:
        self.crop, self.seed, self.smallest_scale = crop, seed, smallest_scale
        files = sorted([*photo_files(p for p in places if p.is_dir()), *(p for p in places if not p.is_dir())])
        large = [path for path in files if path.stem not in exclude and min(size_of(path)) >= 0.75 * crop]
        if not large:
            raise FileNotFoundError(
                f"no photograph with both sides of at least {0.75 * crop:.0f} pixels "
                f"under {[str(place) for place in places[:5]]}"
            )
        self.names = [path.name for path in large]
        self.photos = PhotoStore([partial(read_photo, path) for path in large])

    def batch(self, step: int, size: int) -> Tensor:
        """[size, 3, crop, crop], RGB in 0..1: random photo, scale (where it fits), position and mirror."""
        rng = np.random.default_rng((self.seed, step))
        crops = [self._crop(self.photos[int(rng.integers(len(self.photos)))], rng) for _ in range(size)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255

    def _crop(self, photo: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = photo.shape[:2]
        side = min(int(self.crop / rng.uniform(self.smallest_scale, 1.0)), height, width)
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        part = photo[top : top + side, left : left + side]
        if side != self.crop:
            part = np.asarray(Image.fromarray(part).resize((self.crop, self.crop), Image.Resampling.BICUBIC))
        return part[:, ::-1] if rng.random() < 0.5 else part
