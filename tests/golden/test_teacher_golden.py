"""Numbers that pin the teacher's preprocessing, padding and weights on a real photograph.

Under ImageNet's mean and standard deviation, with symmetric padding, or with another epsilon the same weights still
answer, only worse; these numbers notice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptp_model import teachers
from ptp_model.teachers.base import Normalise

PHOTO = Path(__file__).parents[2] / "export" / "ptp_export" / "photos" / "cat.jpg"

TABBY, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285

#: ImageNet class -> logit, for the centred 224 x 224 pixels.
GOLDEN = {281: 8.3853, 282: 9.1906, 285: 9.1356, 287: 6.2567, 0: -0.5731, 151: -0.4326, 404: -0.1774, 999: 1.8211}
FEATURE_MEAN, FEATURE_STD = 0.65544, 8.33603


@pytest.fixture(scope="module")
def crop() -> torch.Tensor:
    """The photograph scaled to a shorter side of 256 with Pillow's bicubic filter, its centre, float32 in 0..1."""
    with Image.open(PHOTO) as photo:
        scale = 256 / min(photo.size)
        width, height = (round(side * scale) for side in photo.size)
        scaled = photo.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    pixels = np.asarray(scaled, dtype=np.float32)[top : top + 224, left : left + 224] / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def classifier() -> teachers.Teacher:
    return teachers.build("efficientnet-lite0", "cls")


def test_the_cat_is_a_cat(classifier: teachers.Teacher, crop: torch.Tensor) -> None:
    with torch.no_grad():
        probability = classifier(crop).softmax(1)[0]
    assert int(probability.argmax()) in (TABBY, TIGER_CAT, EGYPTIAN_CAT)
    assert float(probability[[TABBY, TIGER_CAT, EGYPTIAN_CAT]].sum()) > 0.8


def test_logits(classifier: teachers.Teacher, crop: torch.Tensor) -> None:
    with torch.no_grad():
        logits = classifier(crop)[0]
    for index, value in GOLDEN.items():
        assert float(logits[index]) == pytest.approx(value, abs=2e-3), classifier.spec.classes[index]


def test_feature(classifier: teachers.Teacher, crop: torch.Tensor) -> None:
    with torch.no_grad():
        h = classifier.stem(crop)
    assert h.shape == (1, 24, 56, 56)
    assert float(h.mean()) == pytest.approx(FEATURE_MEAN, abs=1e-4)
    assert float(h.std()) == pytest.approx(FEATURE_STD, abs=1e-4)


def test_imagenet_preprocessing_would_be_noticed(classifier: teachers.Teacher, crop: torch.Tensor) -> None:
    ours = classifier.normalise
    try:
        classifier.normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        with torch.no_grad():
            logits = classifier(crop)[0]
    finally:
        classifier.normalise = ours
    assert max(abs(float(logits[index]) - value) for index, value in GOLDEN.items()) > 0.2


def test_pixels_enter_as_the_network_was_trained() -> None:
    pixels = torch.arange(256, dtype=torch.float32).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    spec = teachers.build("efficientnet-lite0", "seg").spec
    assert torch.allclose(Normalise(spec.mean, spec.std)(pixels / 255), (pixels - 127) / 128, atol=1e-6)
