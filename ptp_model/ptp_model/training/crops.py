"""Random crops of a folder of photographs: what stage 1 learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ptp_model.training.data import Pixels

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


class PhotoCrops:
    """Endless batches of crops, reproducible from (seed, step) alone, so that a resumed run sees what it would have.

    Args:
        folders: folders of photographs, searched recursively in sorted order.
        crop: side in pixels.
        seed: of the crops' random numbers.
        exclude: file stems that must never be trained on.
        smallest_scale: a crop is scaled down by a factor drawn between this and 1.

    Raises:
        FileNotFoundError: no photograph with both sides of at least 3/4 ``crop`` was found.
    """

    def __init__(
        self,
        folders: list[Path],
        crop: int,
        seed: int,
        exclude: frozenset[str] = frozenset(),
        smallest_scale: float = 0.5,
    ) -> None:
        self.crop, self.seed, self.smallest_scale = crop, seed, smallest_scale
        self.photos: list[Pixels] = []
        self.names: list[str] = []
        for path in sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
            if path.stem in exclude:
                continue
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            if min(pixels.shape[:2]) >= 0.75 * crop:
                self.photos.append(pixels)
                self.names.append(path.name)
        if not self.photos:
            raise FileNotFoundError(
                f"no photograph with both sides of at least {0.75 * crop:.0f} pixels under {[str(f) for f in folders]}"
            )

    def batch(self, step: int, size: int) -> Tensor:
        """[size, 3, crop, crop], RGB in 0..1: random photo, scale (where it fits), position and mirror."""
        rng = np.random.default_rng((self.seed, step))
        crops = [self._crop(self.photos[rng.integers(len(self.photos))], rng) for _ in range(size)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255

    def _crop(self, photo: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = photo.shape[:2]
        side = min(int(self.crop / rng.uniform(self.smallest_scale, 1.0)), height, width)
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        part = photo[top : top + side, left : left + side]
        if side != self.crop:
            part = np.asarray(Image.fromarray(part).resize((self.crop, self.crop), Image.Resampling.BICUBIC))
        return part[:, ::-1] if rng.random() < 0.5 else part
