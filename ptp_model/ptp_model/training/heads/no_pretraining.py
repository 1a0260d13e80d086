"""The baseline that shows what ImageNet brought: the same teacher, its backbone (and evidence) at random weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ptp_model.errors import ModelError
from ptp_model.teachers.lite0_teachers import Lite0Detector, Lite0Segmenter
from ptp_model.training.data import LabelledPhoto
from ptp_model.training.heads.augment import random_box_crop
from ptp_model.training.heads.detection import DetectionTraining

#: Photographs that the normalisation layers of the random backbone are measured on, a crop each.
MEASURED = 16


def forget(teacher: Lite0Segmenter | Lite0Detector, photos: Sequence[LabelledPhoto], seed: int) -> None:
    """Replace all but the head by torch's random start; the normalisation layers measure what comes of it.

    Without that measurement the signal of a random network would fade from layer to layer, and the baseline would fail
    for a reason that has nothing to do with pretraining.

    Raises:
        ModelError: there is no photograph.
    """
    if not photos:
        raise ModelError("baseline without pretraining: expected photographs, got none")
    torch.manual_seed(seed)
    parts: list[nn.Module] = [teacher.backbone]
    if isinstance(teacher, Lite0Segmenter):
        parts.append(teacher.evidence)
    norms = []
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
                module.momentum = None  # a plain mean over what follows
                norms.append(module)
    random, crop = np.random.default_rng(seed), DetectionTraining().crop
    crops = [
        random_box_crop(photo.image(), photo.boxes, photo.labels, crop, random)[0]
        for photo in photos[:: max(1, len(photos) // MEASURED)][:MEASURED]
    ]
    images = torch.from_numpy(np.stack(crops).astype(np.float32) / 255).permute(0, 3, 1, 2)
    for norm in norms:
        norm.train()
    with torch.no_grad():
        teacher.features(teacher.stem(images))
    teacher.freeze()
