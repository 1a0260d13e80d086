"""Every rival there and back, and the search for a number of bytes."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_export.evaluation.image_codecs import NAMES, image_codec
from ptp_export.evaluation.image_codecs.protocol import quality_for
from ptp_runtime.errors import MissingExtraError, UnsupportedImageError, UsageError


@pytest.fixture(scope="module")
def patch(cat_photo: Path) -> np.ndarray:
    """An odd-sized piece of the cat."""
    with Image.open(cat_photo) as image:
        return np.asarray(image.convert("RGB"))[60:157, 120:253].copy()


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean(np.square(a.astype(float) - b))))


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str, patch: np.ndarray) -> None:
    codec = image_codec(name)
    few, many = codec.qualities[2], codec.qualities[-1]
    small, large = codec.encode(patch, few), codec.encode(patch, many)
    assert small == codec.encode(patch, few), "the same bytes every time"
    assert 0 < codec.counted(small) <= len(small)
    assert codec.counted(small) < codec.counted(large)
    rough, fine = codec.decode(small), codec.decode(large)
    assert rough.shape == fine.shape == patch.shape
    assert rough.dtype == np.uint8
    assert 20 < _psnr(rough, patch) < _psnr(fine, patch)
    assert _psnr(fine, patch) > 32
    assert np.abs(fine.mean((0, 1)) - patch.mean((0, 1))).max() < 1.5, "no shift of colours"


@pytest.mark.parametrize("name", NAMES)
def test_qualities_are_sorted_from_few_bytes_to_many(name: str) -> None:
    codec = image_codec(name)
    places = [list(codec.scale).index(quality) for quality in codec.qualities]
    assert places == sorted(set(places))
    assert codec.name == name
    assert codec.settings


def test_small_pictures() -> None:
    for shape in ((1, 1, 3), (2, 6, 3), (16, 17, 3), (40, 64, 3)):
        grey = np.full(shape, 90, np.uint8)
        for name in NAMES:
            codec = image_codec(name)
            if name == "hevc" and shape[0] < 16:
                with pytest.raises(UnsupportedImageError, match="16×16"):
                    codec.encode(grey, 30)
                continue
            found = codec.decode(codec.encode(grey, codec.qualities[-1]))
            assert found.shape == shape, name
            assert np.abs(found.astype(int) - 90).max() <= 4, name


def test_a_container_does_not_count(patch: np.ndarray) -> None:
    data = image_codec("avif").encode(patch, 50)
    assert 200 < len(data) - image_codec("avif").counted(data) < 500
    assert image_codec("avif").counted(b"\0\0\0\x08ftyp") == 8, "no payload found: all of it"


@pytest.mark.parametrize("wanted", [10, 900, 4000, 10**6])
def test_the_rival_never_gets_fewer_bytes(patch: np.ndarray, wanted: int) -> None:
    codec = image_codec("jpeg")
    quality, data = quality_for(codec, patch, wanted)
    if wanted == 10**6:
        assert quality == 95
    else:
        assert len(data) >= wanted
        assert quality == 1 or len(codec.encode(patch, quality - 1)) < wanted


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(UsageError, match="jpeg, webp, avif, hevc"):
        image_codec("bpg")


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_av(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "av":
            raise ImportError("No module named 'av'")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(MissingExtraError, match=r"ptp-deploy\[eval\]"):
        image_codec("hevc")
