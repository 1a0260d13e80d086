"""COCO 2017 as downloaded, and the checks that both layouts of labelled photographs share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_model.errors import MissingLibraryError
from ptp_model.teachers.classes import COCO_CLASSES, VOC_CLASSES
from ptp_model.training import split
from ptp_model.training.annotations import LabelError
from ptp_model.training.coco_masks import VOC_OF_COCO
from ptp_model.training.data import IGNORE, read_labelled

HEIGHT, WIDTH = 40, 60
PERSON, DOG, GIRAFFE = 1, 18, 25
VOC_PERSON, VOC_DOG = 15, 12


def square(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def note(number: int, image_id: int, category: int, shape: Any, box: list[float], **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": category, "segmentation": shape, "bbox": box} | more


def runs(mask: np.ndarray[Any, Any]) -> dict[str, Any]:
    """COCO's uncompressed run lengths: down the columns, the first run is of zeros."""
    flat = mask.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": counts}


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small COCO 2017: photographs 6 (train, which the id rule would hold out), 7 (train) and 10 (val)."""

    def write(notes: list[dict[str, Any]], name: str = "train2017") -> Path:
        for folder, ids in (("train2017", (6, 7)), ("val2017", (10,))):
            (tmp_path / folder).mkdir(exist_ok=True)
            for image_id in ids:
                Image.new("RGB", (WIDTH, HEIGHT), (image_id, 0, 0)).save(tmp_path / folder / f"{image_id:012d}.jpg")
            rows = [
                {"id": i, "file_name": f"{i:012d}.jpg", "height": HEIGHT, "width": WIDTH, "license": 1} for i in ids
            ]
            document = {"info": {}, "images": rows, "annotations": notes if folder == name else []}
            (tmp_path / "annotations").mkdir(exist_ok=True)
            (tmp_path / "annotations" / f"instances_{folder}.json").write_text(json.dumps(document))
        return tmp_path

    return write


def test_the_folder_decides_what_is_held_out(coco: Callable[..., Path]) -> None:
    photos = read_labelled(coco([note(1, 7, GIRAFFE, square(0, 0, 9, 9), [1, 2, 3, 4])]))

    assert [(photo.image_id, photo.held_out) for photo in photos] == [(6, False), (7, False), (10, True)]
    assert photos[1].boxes.tolist() == [[1, 2, 4, 6]]
    assert photos[1].labels.tolist() == [GIRAFFE]
    assert photos[1].image().shape == (HEIGHT, WIDTH, 3)
    assert all(photo.has_mask for photo in photos)


def test_photographs_that_results_are_measured_on_stay_held_out(coco: Callable[..., Path]) -> None:
    """coco-mini is a part of train2017."""
    folder = coco([])
    name = min(split.load().named("coco-mini", "evaluation"))
    (folder / "train2017" / f"{7:012d}.jpg").rename(folder / "train2017" / f"{name}.jpg")
    path = folder / "annotations" / "instances_train2017.json"
    document = json.loads(path.read_text())
    document["images"][1] |= {"id": int(name), "file_name": f"{name}.jpg"}
    path.write_text(json.dumps(document))

    assert {photo.image_id: photo.held_out for photo in read_labelled(folder)}[int(name)]


def test_categories_map_to_classes_of_the_same_name() -> None:
    other_names = {"airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa", "tv": "tvmonitor"}
    assert len(VOC_OF_COCO) == 20
    for category, voc in VOC_OF_COCO.items():
        name = COCO_CLASSES[category]
        assert other_names.get(name, name).replace(" ", "") == VOC_CLASSES[voc], name


def test_masks_show_the_smaller_object_on_top(coco: Callable[..., Path]) -> None:
    notes = [
        note(1, 7, DOG, square(10, 10, 20, 20), [10, 10, 10, 10]),
        note(2, 7, PERSON, square(5, 5, 35, 35), [5, 5, 30, 30]),
        note(3, 7, GIRAFFE, square(0, 0, 60, 40), [0, 0, 60, 40]),
    ]
    mask = read_labelled(coco(notes))[1].mask()

    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.dtype == np.uint8
    assert mask[15, 15] == VOC_DOG
    assert mask[30, 30] == mask[6, 6] == VOC_PERSON
    assert mask[2, 2] == 0, "VOC knows no giraffes"
    assert set(np.unique(mask).tolist()) == {0, VOC_DOG, VOC_PERSON}
    assert int((mask == VOC_DOG).sum()) == 100


def test_crowds_are_ignored_and_lie_below(coco: Callable[..., Path]) -> None:
    crowd = np.zeros((HEIGHT, WIDTH), dtype=bool)
    crowd[0:6, 0:8] = True
    notes = [
        note(1, 7, PERSON, square(4, 4, 30, 30), [4, 4, 26, 26]),
        note(2, 7, PERSON, runs(crowd), [0, 0, 8, 6], iscrowd=1),
    ]
    photo = read_labelled(coco(notes))[1]
    mask = photo.mask()

    assert photo.boxes.tolist() == [[4, 4, 30, 30]]
    assert mask[1, 1] == IGNORE
    assert mask[5, 5] == VOC_PERSON, "the crowd is larger than what of the person it covers, yet the person is known"
    assert int((mask == IGNORE).sum()) == 48 - 2 * 4


def test_compressed_run_lengths_are_read(coco: Callable[..., Path]) -> None:
    from pycocotools import mask as library

    inside = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    inside[3:9, 50:60] = 1
    packed = library.encode(inside)
    shape = {"size": packed["size"], "counts": packed["counts"].decode()}
    mask = read_labelled(coco([note(1, 7, DOG, shape, [50, 3, 10, 6])]))[1].mask()

    assert np.array_equal(mask, inside * VOC_DOG)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (None, "expected polygons or run lengths"),
        ([[1, 2, 3, 4]], "less than three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "less than three points"),
        ([["a"] * 6], "expected polygons or run lengths"),
        ({"size": [3, 3], "counts": [9]}, r"expected a region of 40 × 60 pixels, got \[3, 3\]"),
        ({"size": [HEIGHT, WIDTH], "counts": [9]}, "do not cover"),
        ({"counts": [9]}, "expected polygons or run lengths"),
    ],
)
def test_shapes_that_cannot_be_drawn_are_named(coco: Callable[..., Path], shape: Any, words: str) -> None:
    folder = coco([note(41, 7, DOG, shape, [1, 1, 5, 5])])
    with pytest.raises(LabelError, match=rf"annotation 41 of 0+7\.jpg: .*{words}"):
        read_labelled(folder)


def test_boxes_alone_need_no_library(coco: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    folder = coco([note(1, 7, DOG, square(1, 1, 5, 5), [1, 1, 4, 4])])
    assert len(read_labelled(folder, masks=False)[1].boxes) == 1
    with pytest.raises(MissingLibraryError, match=r"ptp-deploy\[train\]"):
        read_labelled(folder)


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([-0.6, 0, 10, 10], [0, 0, 9.4, 10]),
        ([55, 30, 6, 10.5], [55, 30, 60, 40]),
        ([0, 0, WIDTH, HEIGHT], [0, 0, WIDTH, HEIGHT]),
    ],
)
def test_boxes_a_little_outside_are_clipped(coco: Callable[..., Path], box: list[float], kept: list[float]) -> None:
    (found,) = read_labelled(coco([note(1, 7, DOG, square(1, 1, 5, 5), box)]))[1].boxes
    assert found.tolist() == pytest.approx(kept)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([-2, 0, 10, 10], "expected a box inside 60 × 40 pixels"),
        ([0, 0, 10, 42], "expected a box inside"),
        ([float("nan"), 0, 10, 10], "expected a box inside"),
        ([5, 5, 0, 10], "expected a box with an area"),
        ([5, 5, 10, -1], "expected a box with an area"),
    ],
)
def test_impossible_boxes_are_named(coco: Callable[..., Path], box: list[float], words: str) -> None:
    folder = coco([note(87, 7, DOG, square(1, 1, 5, 5), box)])
    with pytest.raises(LabelError, match=rf"annotation 87 of 0+7\.jpg: {words}"):
        read_labelled(folder)


def test_a_slip_of_the_pen_is_left_out(coco: Callable[..., Path]) -> None:
    """COCO 2017 has a box of no height, around an object of no area."""
    notes = [note(1, 7, DOG, square(9, 9, 9, 9), [9, 9, 1.03, 0.0], area=0.0)]
    assert read_labelled(coco(notes))[1].boxes.shape == (0, 4)


def test_missing_photographs_are_counted(coco: Callable[..., Path]) -> None:
    folder = coco([])
    for path in (folder / "train2017").iterdir():
        path.unlink()
    with pytest.raises(LabelError, match=r"2 of 2 photographs are missing; the first is 0+6\.jpg.*not in train2017/"):
        read_labelled(folder)


def test_unreadable_and_absent_parts_are_named(coco: Callable[..., Path]) -> None:
    folder = coco([])
    path = folder / "annotations" / "instances_val2017.json"
    path.write_text("{")
    with pytest.raises(LabelError, match=r"instances_val2017\.json: expected COCO's images"):
        read_labelled(folder)
    path.unlink()
    with pytest.raises(LabelError, match=r"instances_val2017\.json: cannot read it"):
        read_labelled(folder)
    for name in ("train2017", "val2017"):
        (folder / name).rename(folder / f"no-{name}")
    with pytest.raises(LabelError, match="expected train2017 or val2017"):
        read_labelled(folder)


def test_pictures_of_another_size_are_refused(coco: Callable[..., Path], tmp_path: Path) -> None:
    photo = read_labelled(coco([]))[1]
    Image.new("RGB", (50, HEIGHT)).save(photo.image_path)
    with pytest.raises(LabelError, match=r"expected a photograph of 60 × 40 pixels, got 50 × 40"):
        photo.image()

    small = tmp_path / "small"
    for name in ("images", "masks"):
        (small / name).mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(small / "images" / "3.png")
    Image.new("L", (6, 8)).save(small / "masks" / "3.png")
    rows = [{"id": 3, "file_name": "3.png", "height": 6, "width": 8}]
    (small / "instances.json").write_text(json.dumps({"images": rows, "annotations": []}))
    (labelled,) = read_labelled(small)
    assert labelled.image().shape == (6, 8, 3)
    with pytest.raises(LabelError, match=r"3\.png: expected a mask of 8 × 6 pixels, got 6 × 8"):
        labelled.mask()
