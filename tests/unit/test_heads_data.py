"""Labelled photographs: reading, refusing, splitting; crops that keep labels and pixels together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_model.training import data
from ptp_model.training.heads import augment


def _folder(path: Path, ids: tuple[int, ...] = (4, 6)) -> dict[str, Any]:
    """Photographs of 40 x 30 pixels with one box each; the first has a mask."""
    for name in ("images", "masks"):
        (path / name).mkdir()
    random = np.random.default_rng(0)
    for image_id in ids:
        pixels = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / "images" / f"{image_id:03d}.png")
    mask = np.zeros((30, 40), dtype=np.uint8)
    mask[10:20, 5:25] = 8
    Image.fromarray(mask).save(path / "masks" / f"{ids[0]:03d}.png")
    document = {
        "images": [{"id": i, "file_name": f"{i:03d}.png", "width": 40, "height": 30} for i in reversed(ids)],
        "annotations": [
            {"id": 1, "image_id": ids[0], "category_id": 17, "bbox": [5, 10, 20, 10], "iscrowd": 0},
            {"id": 2, "image_id": ids[1], "category_id": 1, "bbox": [1.5, 2, 3, 4]},
            {"id": 3, "image_id": ids[1], "category_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 1},
        ],
    }
    (path / "instances.json").write_text(json.dumps(document))
    return document


def test_reading(tmp_path: Path) -> None:
    _folder(tmp_path)
    first, second = data.read_labelled(tmp_path)
    assert (first.image_id, second.image_id) == (4, 6)
    assert first.boxes.tolist() == [[5.0, 10.0, 25.0, 20.0]]
    assert second.boxes.tolist() == [[1.5, 2.0, 4.5, 6.0]]  # the crowd is left out
    assert first.labels.tolist() == [17]
    assert first.image().shape == (30, 40, 3)
    assert set(np.unique(first.mask())) == {0, 8}
    assert (first.held_out, second.held_out) == (False, True)
    with pytest.raises(data.LabelError, match="photograph 6: expected a mask"):
        second.mask()


def test_the_split_is_a_rule_on_the_id_alone() -> None:
    held_out = [image_id for image_id in range(1000) if data.is_held_out(image_id)]
    assert held_out[:4] == [1, 6, 11, 16]
    assert len(held_out) == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("images"), "expected COCO's images"),
        (lambda d: d["annotations"][0].pop("bbox"), "expected COCO's images"),
        (lambda d: d["annotations"][0].update(image_id=99), "expected COCO's images"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "expected COCO's images"),
        (lambda d: d["images"][0].update(file_name="gone.png"), r"gone\.png, which is not in images"),
    ],
)
def test_malformed_folders_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    document = _folder(tmp_path)
    change(document)
    (tmp_path / "instances.json").write_text(json.dumps(document))
    with pytest.raises(data.LabelError, match=message):
        data.read_labelled(tmp_path)


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(data.LabelError, match=r"instances\.json: cannot read it"):
        data.read_labelled(tmp_path)


def test_pictures_that_are_none_are_refused(tmp_path: Path) -> None:
    _folder(tmp_path)
    first = data.read_labelled(tmp_path)[0]
    first.image_path.write_bytes(b"\x89PNG, not really")
    with pytest.raises(data.LabelError, match="expected a readable image"):
        first.image()
    assert first.mask_path is not None
    Image.new("RGB", (40, 30)).save(first.mask_path)
    with pytest.raises(data.LabelError, match="expected a mask of one 8-bit channel, got mode RGB"):
        first.mask()


def test_cutouts(tmp_path: Path) -> None:
    Image.new("RGBA", (6, 5), (10, 20, 30, 128)).save(tmp_path / "thing.png")
    (tmp_path / "list.json").write_text(json.dumps({"thing.png": 8}))
    (cutout,) = data.read_cutouts(tmp_path / "list.json")
    assert cutout.label == 8
    assert cutout.rgb.shape == (5, 6, 3)
    assert cutout.alpha.tolist() == [[128] * 6] * 5
    for content in ("[]", "{", '{"thing.png": "cat"}'):
        (tmp_path / "list.json").write_text(content)
        with pytest.raises(data.LabelError, match="expected a JSON object"):
            data.read_cutouts(tmp_path / "list.json")


def _coded_photo(height: int, width: int) -> tuple[data.Pixels, data.Pixels]:
    """A photograph in which red tells the class, so that pixels and labels can be compared after any crop."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 5
    image = np.repeat((mask * 40)[..., None], 3, axis=2)
    return image, mask


@pytest.mark.parametrize("size", [(50, 70), (400, 300)])
def test_crops_keep_pixels_and_labels_together(size: tuple[int, int]) -> None:
    config = augment.CropConfig(side_px=96, short_side_px=(60, 200))
    random = np.random.default_rng(1)
    seen = set()
    for _ in range(20):
        image, mask = augment.random_crop(*_coded_photo(*size), config, random, focus=5)
        assert image.shape == (96, 96, 3)
        assert mask.shape == (96, 96)
        assert (mask == 5).any()  # the focus is in the crop
        inside = mask != data.IGNORE
        wrong = np.abs(image[..., 0].astype(int) - mask.astype(int) * 40) > 100
        assert wrong[inside].mean() < 0.02  # only where interpolation blurs an edge
        assert (image[~inside] == 127).all()
        seen |= set(np.unique(mask).tolist())
    assert seen >= {0, 5}


def test_crops_follow_their_seed() -> None:
    config = augment.CropConfig(side_px=32, short_side_px=(20, 60))
    photo = _coded_photo(50, 70)
    pairs = [augment.random_crop(*photo, config, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert np.array_equal(pairs[0][0], pairs[1][0])
    assert not np.array_equal(pairs[0][0], pairs[2][0])


def test_paste_labels_what_is_opaque_and_ignores_what_is_half_so() -> None:
    alpha = np.zeros((20, 20), dtype=np.uint8)
    alpha[5:15, 5:15] = 255
    alpha[0:3] = 100
    cutout = data.Cutout(rgb=np.full((20, 20, 3), 200, dtype=np.uint8), alpha=alpha, label=3)
    config = augment.CropConfig(side_px=64, paste_extent=(0.9, 1.0))
    image, mask = np.zeros((64, 64, 3), dtype=np.uint8), np.zeros((64, 64), dtype=np.uint8)
    random = np.random.default_rng(0)
    while not (mask == 3).any():
        augment.paste(image, mask, cutout, config, random)
    assert set(np.unique(mask)) <= {0, 3, data.IGNORE}
    assert (image[mask == 3] > 100).all()
    assert (image[mask == 0] < 40).all()


def test_cut_takes_the_pixels_of_one_class() -> None:
    image, mask = _coded_photo(400, 300)
    cutout = augment.cut(image, mask, 5)
    assert cutout is not None
    assert cutout.alpha.shape == (100, 75)
    assert (cutout.rgb == 200).all()
    assert augment.cut(image, mask, 6) is None


def test_box_crops_move_boxes_with_the_pixels() -> None:
    """The box is found again by its colour."""
    random = np.random.default_rng(2)
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[30:90, 40:100] = 255
    boxes, labels = np.array([[40, 30, 100, 90]], dtype=np.float32), np.array([7])
    config = augment.BoxCropConfig(side_px=128, short_side_px=(80, 240), least_visible=0.5)
    kept = 0
    for _ in range(30):
        crop, found, names = augment.random_box_crop(image, boxes, labels, config, random)
        assert len(found) == len(names)
        if len(found):
            kept += 1
            rows, columns = np.nonzero(crop[..., 0] > 190)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(found[0] - edges).max() <= 2.0
            assert names.tolist() == [7]
    assert kept > 10


def test_box_crops_of_photographs_without_boxes() -> None:
    image = np.zeros((50, 60, 3), dtype=np.uint8)
    none = np.zeros((0, 4), dtype=np.float32)
    _, boxes, labels = augment.random_box_crop(
        image, none, np.zeros(0, dtype=np.int64), augment.BoxCropConfig(side_px=32), np.random.default_rng(0)
    )
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)
