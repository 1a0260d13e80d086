"""Figures of fidelity by hand, and a rival that is never given fewer bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptp_export.evaluation.fidelity import feature_error, mean_iou, pixel_agreement
from ptp_export.evaluation.jpeg import jpeg_with_at_least


def test_masks() -> None:
    a = np.array([[0, 0], [8, 8]], np.uint8)
    b = np.array([[0, 8], [8, 8]], np.uint8)
    assert pixel_agreement(a, a) == mean_iou(a, a) == 1
    assert pixel_agreement(a, b) == 0.75
    assert mean_iou(a, b) == pytest.approx((1 / 2 + 2 / 3) / 2)
    with pytest.raises(ValueError, match="equal shapes"):
        pixel_agreement(a, b[:1])


def test_feature_error_is_one_for_the_mean() -> None:
    h = np.random.default_rng(0).normal(size=(1, 3, 5, 7)).astype(np.float32)
    assert feature_error(h, h) == 0
    mean = np.broadcast_to(h.mean((2, 3), keepdims=True), h.shape)
    assert feature_error(h, mean) == pytest.approx(1)


def test_jpeg_gets_at_least_our_bytes(cat_photo: Path) -> None:
    pixels = np.asarray(Image.open(cat_photo).convert("RGB"))
    previous = 0
    for wanted in (100, 4000, 9000, 20000):
        jpeg = jpeg_with_at_least(pixels, wanted)
        assert jpeg.size_bytes >= wanted
        assert jpeg.size_bytes <= max(1.35 * wanted, 3500), "not wastefully more either"
        assert jpeg.pixels.shape == pixels.shape
        assert jpeg.quality >= previous
        previous = jpeg.quality
