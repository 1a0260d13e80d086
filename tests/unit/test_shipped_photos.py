"""The photographs in the package: groups, hashes, licences, sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import ptp_export.photos
from ptp_export.photos import demo_photo, photos
from ptp_runtime.errors import AlteredFileError, MissingFileError

FREE = {"CC0-1.0", "CC-BY-2.0", "CC-BY-4.0", "public domain"}
MAX_BYTES = 120 * 1024


def test_the_groups_share_no_photograph() -> None:
    calibration, parity = photos("calibration"), photos("parity")

    assert len(calibration) >= 4
    assert len(parity) >= 4
    assert not {photo.sha256 for photo in calibration} & {photo.sha256 for photo in parity}


def test_each_photograph_is_what_the_index_says() -> None:
    for photo in (*photos("calibration"), *photos("parity")):
        with Image.open(photo.path) as image:
            assert (image.width, image.height, image.mode) == (photo.width, photo.height, "RGB")
        assert photo.path.stat().st_size <= MAX_BYTES
        assert photo.licence in FREE
        assert photo.author
        assert photo.source


def test_every_file_in_the_folder_is_listed_and_licensed(shipped_photos: dict[str, Path]) -> None:
    folder = next(iter(shipped_photos.values())).parent
    listed = {photo.path.name for group in ("calibration", "parity") for photo in photos(group)}
    licences = (folder / "LICENSES.md").read_text(encoding="utf-8")

    assert listed == set(shipped_photos)
    assert all(f"`{name}`" in licences for name in listed)


def test_the_demo_photo_is_a_parity_photo_of_an_odd_size() -> None:
    photo = demo_photo()

    assert photo in photos("parity")
    assert photo.licence == "CC0-1.0"
    assert photo.width % 64
    assert photo.height % 64


@pytest.fixture
def copied_photos(tmp_path: Path, shipped_photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of photographs that a test may damage, in the place of the package's."""
    source = next(iter(shipped_photos.values())).parent
    for file in source.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(ptp_export.photos, "_FOLDER", tmp_path)
    return tmp_path


def test_an_altered_photograph_is_refused(copied_photos: Path) -> None:
    file = copied_photos / "cat.jpg"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)

    with pytest.raises(AlteredFileError, match=r"cat\.jpg"):
        demo_photo()


def test_a_missing_photograph_is_named(copied_photos: Path) -> None:
    (copied_photos / "temple.jpg").unlink()

    with pytest.raises(MissingFileError, match=r"temple\.jpg"):
        photos("calibration")


def test_no_parity_photograph_is_trained_on() -> None:
    from ptp_model.training.photos import selection

    index = json.loads((Path(ptp_export.photos.__file__).parent / "photos.json").read_text(encoding="utf-8"))
    parity = {entry["source_sha256"] for entry in index["photos"] if entry["group"] == "parity"}
    trained = {source.sha256 for source in selection.load().sources if source.split == "train"}

    assert parity
    assert not parity & trained
