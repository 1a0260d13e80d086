"""Photo sets: hashed, repeatable, and kept apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ptp_calibration import CalibrationError, PhotoSet
from ptp_export.oracle.photo_groups import shipped_set


def test_a_set_can_be_read_again_from_the_start(shipped_photos: dict[str, Path]) -> None:
    photos = PhotoSet.from_files([shipped_photos["cat.jpg"], shipped_photos["coffee.jpg"]], "two photos")
    first, second = list(photos), list(photos)
    assert [sample.name for sample in first] == ["cat.jpg", "coffee.jpg"]
    assert first[0].image.shape == (300, 451, 3)
    assert first[0].image.dtype == np.uint8
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))


def test_the_digest_follows_the_content_not_the_place(shipped_photos: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(shipped_photos["cat.jpg"], tmp_path / "cat.jpg")
    here = PhotoSet.from_folder(tmp_path)
    there = PhotoSet.from_files([shipped_photos["cat.jpg"]], "shipped")
    assert here.digest == there.digest
    shutil.copy(shipped_photos["coffee.jpg"], tmp_path / "cat.jpg")
    assert PhotoSet.from_folder(tmp_path).digest != there.digest


def test_a_photo_that_changed_since_is_refused(shipped_photos: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(shipped_photos["cat.jpg"], tmp_path / "cat.jpg")
    photos = PhotoSet.from_folder(tmp_path)
    shutil.copy(shipped_photos["coffee.jpg"], tmp_path / "cat.jpg")
    with pytest.raises(CalibrationError, match="changed"):
        list(photos)


def test_sets_that_share_a_photo_are_told_apart(shipped_photos: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(shipped_photos["cat.jpg"], tmp_path / "renamed.jpg")
    shutil.copy(shipped_photos["coffee.jpg"], tmp_path / "coffee.jpg")
    ours = PhotoSet.from_folder(tmp_path)
    theirs = PhotoSet.from_files([shipped_photos["cat.jpg"]], "shipped")
    with pytest.raises(CalibrationError, match=r"renamed\.jpg"):
        ours.require_disjoint(theirs)
    rest = ours.without([theirs.photos[0].sha256])
    assert [photo.name for photo in rest.photos] == ["coffee.jpg"]
    rest.require_disjoint(theirs)


def test_the_shipped_groups_share_nothing() -> None:
    tune, check = shipped_set("calibration"), shipped_set("parity")
    assert len(tune) >= 4
    assert len(check) >= 4
    tune.require_disjoint(check)


@pytest.mark.parametrize("content", [b"", b"no photo at all", b"\xff\xd8\xff\xe0 truncated"])
def test_what_is_no_photo_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(CalibrationError, match=r"broken\.jpg cannot be decoded"):
        list(PhotoSet.from_folder(tmp_path))


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no photo in the set"):
        PhotoSet.from_folder(tmp_path)
    with pytest.raises(CalibrationError, match="no folder"):
        PhotoSet.from_folder(tmp_path / "absent")


def test_two_photos_of_one_name_are_refused(shipped_photos: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(shipped_photos["cat.jpg"], tmp_path / "cat.jpg")
    with pytest.raises(CalibrationError, match=r"two photos are called cat\.jpg"):
        PhotoSet.from_files([tmp_path / "cat.jpg", shipped_photos["cat.jpg"]], "both")
