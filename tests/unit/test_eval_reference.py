"""The judge: the teacher with the runtime's post-processing, for all three tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptp_export.evaluation.evaluate import eight_bits
from ptp_export.evaluation.reference import Judge
from ptp_model import checkpoint
from ptp_model.teachers import build, upsample_logits
from ptp_runtime.tasks import Classification, Detections, Segmentation


@pytest.fixture(scope="module")
def photo(cat_photo: Path) -> np.ndarray:
    """A small cat of odd sides."""
    with Image.open(cat_photo) as image:
        return np.asarray(image.convert("RGB").resize((151, 101)))


def test_masks_are_the_teachers_own(photo: np.ndarray) -> None:
    teacher = checkpoint.load("demo").tasks["seg"].teacher
    judge = Judge(teacher)
    coded = judge.coded(photo)
    assert coded is photo
    found = judge.answer(coded, (101, 151))
    with torch.no_grad():
        image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
        logits = teacher(image)
    assert isinstance(logits, torch.Tensor)
    expected = upsample_logits(logits, (101, 151)).argmax(1)[0].numpy()
    assert isinstance(found.output, Segmentation)
    assert np.mean(found.output.mask != expected) < 1e-3
    assert found.h.shape == (1, teacher.spec.feature_channels, 26, 38)


def test_a_classifier_sees_its_own_crop(photo: np.ndarray) -> None:
    judge = Judge(build("efficientnet-lite0", "cls"))
    coded = judge.coded(photo)
    assert coded.shape == (224, 224, 3)
    found, rounded = (judge.answer(pixels, (101, 151)).output for pixels in (coded, eight_bits(coded)))
    assert isinstance(found, Classification)
    assert isinstance(rounded, Classification)
    assert found.labels[0] == rounded.labels[0]
    assert "cat" in found.names[0] or "tabby" in found.names[0]


def test_a_detector_gives_boxes_in_the_photograph(photo: np.ndarray) -> None:
    teacher = build("efficientnet-lite0", "det")
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if name.endswith("cls_logits.bias"):
                parameter.fill_(1.0)  # an untrained head is sure of nothing
    judge = Judge(teacher)
    found = judge.answer(judge.coded(photo), (101, 151)).output
    assert isinstance(found, Detections)
    assert len(found.boxes) > 0
    assert found.boxes.min() >= 0
    assert found.boxes[:, 2].max() <= 151
