"""Scaling and cropping for classifiers, against Pillow's filter and against the definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ptp_runtime.bicubic import centre_crop_pixels
from ptp_runtime.coded_photo import coded_pixels, coded_shape
from ptp_runtime.manifest import CentreCrop, Resize

pytestmark = pytest.mark.runtime

CLASSIFIER = CentreCrop(shorter_side=256, crop=224)

Pixels = npt.NDArray[np.uint8]


def _noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _cut(scaled: npt.NDArray[np.float32], resize: CentreCrop) -> npt.NDArray[np.float32]:
    top, left = (round((side - resize.crop) / 2) for side in scaled.shape[:2])
    return scaled[top : top + resize.crop, left : left + resize.crop]


def _size(pixels: Pixels, resize: CentreCrop) -> tuple[int, int]:
    """Width and height after the scaling, as Pillow wants them."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    return resize.shorter_side * width // shorter, resize.shorter_side * height // shorter


def _unrounded_by_pillow(pixels: Pixels, resize: CentreCrop) -> npt.NDArray[np.float32]:
    """Pillow's images of float pixels, a channel each, are not rounded on the way."""
    planes = [Image.fromarray(pixels[:, :, c].astype(np.float32)) for c in range(3)]
    scaled = [np.asarray(plane.resize(_size(pixels, resize), Image.Resampling.BICUBIC)) for plane in planes]
    return _cut(np.stack(scaled, axis=2), resize).clip(0, 255)


@pytest.mark.parametrize("size", [(300, 451), (451, 300), (256, 256), (224, 224), (259, 1031), (90, 70), (7, 11)])
def test_it_is_pillows_filter_without_the_roundings(size: tuple[int, int]) -> None:
    pixels = _noise(*size)
    found = centre_crop_pixels(pixels, CLASSIFIER)
    assert (found.shape, found.dtype) == ((224, 224, 3), np.float32)
    assert np.abs(found - _unrounded_by_pillow(pixels, CLASSIFIER)).max() < 1e-3


def test_a_real_photo_is_within_a_level_of_what_classifiers_are_given(cat_photo: Path) -> None:
    """Pillow rounds twice on the way to 8 bits: half a level each at most, and a little more where it overshoots."""
    with Image.open(cat_photo) as image:
        photo = image.convert("RGB")
    pixels = np.asarray(photo)
    usual = np.asarray(photo.resize(_size(pixels, CLASSIFIER), Image.Resampling.BICUBIC)).astype(np.float32)
    error = np.abs(centre_crop_pixels(pixels, CLASSIFIER) - _cut(usual, CLASSIFIER))
    assert error.max() < 1.25
    assert error.mean() < 0.35


def test_a_constant_stays_and_the_centre_is_kept() -> None:
    assert np.abs(centre_crop_pixels(np.full((40, 90, 3), 77, np.uint8), CLASSIFIER) - 77).max() < 1e-3
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (64, 200, 3))
    row = centre_crop_pixels(ramp, CentreCrop(64, 64))[10, :, 0]
    np.testing.assert_allclose(row, np.arange(68, 132), atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (4096, 1), (2, 3)])
def test_every_size_gives_a_square(size: tuple[int, int]) -> None:
    found = centre_crop_pixels(_noise(*size), CLASSIFIER)
    assert found.shape == (224, 224, 3)
    assert 0 <= found.min() <= found.max() <= 255


def test_what_is_declared_is_what_is_coded() -> None:
    photo = _noise(140, 200)
    assert coded_pixels(photo, None) is photo
    assert coded_pixels(photo, Resize(140, 4096)) is photo, "nothing to do"
    for resize, shape in ((None, (140, 200)), (Resize(70, 4096), (70, 100)), (CentreCrop(80, 64), (64, 64))):
        assert coded_shape(140, 200, resize) == coded_pixels(photo, resize).shape[:2] == shape
