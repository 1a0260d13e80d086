"""Random square crops scaled to a classifier's size: what stage 2 of ``cls`` learns from. No labels are needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ptp_model.training.data import Pixels
from ptp_model.training.stage2 import Batch


class ResizedCrops:
    """Crops of photographs: a :data:`~ptp_model.training.stage2.BatchSource` that depends on seed and step alone.

    Args:
        photos: RGB uint8 [H, W, 3] each.
        side: of the crops that are given, pixels.
        seed: of the crops.
        smallest: a crop covers between this and 1 of the photograph's shorter side. A classifier itself sees 224 / 256
            of it; smaller crops make more of few photographs.
    """

    def __init__(self, photos: Sequence[Pixels], side: int, seed: int, smallest: float = 0.25) -> None:
        self.photos, self.side, self.seed, self.smallest = photos, side, seed, smallest

    def __call__(self, step: int, size: int) -> Batch:
        """[size, 3, side, side], RGB in 0..1: random photo, square, place and mirror; bicubic with antialiasing."""
        rng = np.random.default_rng((self.seed, step))
        crops = [self._crop(self.photos[int(rng.integers(len(self.photos)))], rng) for _ in range(size)]
        return Batch(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255)

    def _crop(self, photo: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = photo.shape[:2]
        side = max(1, round(min(height, width) * rng.uniform(self.smallest, 1.0)))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        part = Image.fromarray(photo[top : top + side, left : left + side])
        pixels = np.asarray(part.resize((self.side, self.side), Image.Resampling.BICUBIC))
        return pixels[:, ::-1] if rng.random() < 0.5 else pixels
