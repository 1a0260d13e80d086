"""Random crops that carry their annotated boxes along: what stage 2 of ``det`` learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ptp_model.training.data import Pixels
from ptp_model.training.heads.augment import BoxCropConfig, random_box_crop
from ptp_model.training.matching import BoxLabels
from ptp_model.training.stage2 import Batch

#: Boxes float32 [n, 4] in pixels and COCO category ids int64 [n] of one photograph.
Annotated = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


class BoxCrops:
    """A :data:`~ptp_model.training.stage2.BatchSource` that depends on seed and step alone.

    Args:
        photos: RGB uint8 [H, W, 3] each.
        annotated: boxes of each; None for a photograph that nobody annotated. (No boxes at all is an annotation too.)
        side: of the square crops, pixels.
        seed: of the crops.
        labelled_share: part of the crops drawn from annotated photographs.
    """

    def __init__(
        self,
        photos: Sequence[Pixels],
        annotated: Sequence[Annotated | None],
        side: int,
        seed: int,
        labelled_share: float = 0.7,
    ) -> None:
        self.photos, self.annotated, self.seed, self.labelled_share = photos, annotated, seed, labelled_share
        self.labelled = [i for i, found in enumerate(annotated) if found is not None]
        self.config = BoxCropConfig(side_px=side, short_side_px=(side * 3 // 2, side * 10 // 3))

    def __call__(self, step: int, size: int) -> Batch:
        """[size, 3, side, side], RGB in 0..1, with the boxes that are visible in each crop, in its pixels."""
        rng = np.random.default_rng((self.seed, step))
        images: list[Pixels] = []
        labels: list[BoxLabels | None] = []
        nothing: Annotated = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
        for _ in range(size):
            drawn = self.labelled and rng.random() < self.labelled_share
            i = int(rng.choice(self.labelled)) if drawn else int(rng.integers(len(self.photos)))
            found = self.annotated[i]
            image, boxes, names = random_box_crop(self.photos[i], *(found or nothing), self.config, rng)
            images.append(np.ascontiguousarray(image))
            labels.append(None if found is None else BoxLabels(torch.from_numpy(boxes), torch.from_numpy(names)))
        return Batch(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255, boxes=tuple(labels))
