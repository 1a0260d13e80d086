"""Which photographs are taken, how curves are compared, and what JSON and page hold; no network runs here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_export.evaluation.comparison import delta_rates
from ptp_export.evaluation.curves.bootstrap import Estimate
from ptp_export.evaluation.document import notes
from ptp_export.evaluation.evaluate import Point, Setting, chosen_rates, eight_bits
from ptp_export.evaluation.page.chart import Curve, CurvePoint, Level, chart
from ptp_export.evaluation.photo_list import EvaluationPhoto, PhotoList, gather
from ptp_export.photos import photos as shipped
from ptp_model.training import split
from ptp_runtime.errors import UsageError


@pytest.fixture
def labelled(tmp_path: Path, cat_photo: Path) -> Path:
    """Three photographs in COCO's small layout; 11 and 16 are held out, 11 has a mask, 16 shows a crowd."""
    folder = tmp_path / "labelled"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    with Image.open(cat_photo) as image:
        small = image.convert("RGB").resize((64, 48))
    images, notes_of = [], []
    for number in (10, 11, 16):
        small.save(folder / "images" / f"{number:012}.jpg", quality=60 + number)
        images.append({"id": number, "file_name": f"{number:012}.jpg", "height": 48, "width": 64})
        box = {"image_id": number, "category_id": 17, "bbox": [4, 4, 20, 20], "area": 400.0}
        notes_of.append({**box, "id": number, "iscrowd": int(number == 16), "segmentation": []})
    Image.fromarray(np.full((48, 64), 8, np.uint8)).save(folder / "masks" / f"{11:012}.png")
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": notes_of}))
    return folder


def test_the_default_is_what_no_training_reads() -> None:
    found = gather([], "seg", held_out=False, limit=None)
    assert [photo.path for photo in found.photos] == [photo.path for photo in shipped("parity")]
    assert not any(photo.learned_from for photo in found.photos)
    assert "shipped" in found.source


def test_a_folder_is_searched_below(tmp_path: Path, cat_photo: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for place in ("z.jpg", "a/b/c.jpg"):
        shutil.copy(cat_photo, tmp_path / place)
    (tmp_path / "a" / "notes.txt").write_text("no photograph")
    found = gather([tmp_path], "seg", held_out=False, limit=None)
    assert [photo.name for photo in found.photos] == ["c.jpg", "z.jpg"]
    assert found.photos[0].mask is None
    assert found.photos[0].pixels().shape == (300, 451, 3)


def test_held_out_photographs_and_their_labels(labelled: Path) -> None:
    masks = gather([labelled], "seg", held_out=True, limit=None).photos
    assert [photo.path.stem for photo in masks] == [f"{11:012}", f"{16:012}"]
    assert masks[0].mask is not None
    assert masks[0].mask().max() == 8
    assert masks[1].mask is None
    boxes = gather([labelled], "det", held_out=False, limit=None).photos
    assert [len(photo.boxes or ()) for photo in boxes] == [1, 1, 1]
    assert [note["iscrowd"] for photo in boxes for note in photo.boxes or ()] == [0, 0, 1]
    assert all(photo.mask is None for photo in boxes)
    assert all(photo.boxes is None for photo in gather([labelled], "cls", held_out=False, limit=None).photos)


def test_of_bare_photographs_held_out_keeps_those_reserved_for_evaluation(
    cat_photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept", "unknown"):
        shutil.copy(cat_photo, tmp_path / f"{name}.jpg")
    with (tmp_path / "unknown.jpg").open("ab") as file:
        file.write(b"x")
    digest = split.sha256_of(tmp_path / "kept.jpg")
    entry = split.Entry("kept", "debian", "kept", frozenset({"evaluation"}), (digest,))
    monkeypatch.setattr(split, "load", lambda: split.Split((entry,)))
    found = gather([tmp_path], "cls", held_out=True, limit=None)
    assert [photo.name for photo in found.photos] == ["kept.jpg"]


def test_a_limit_is_spread_over_the_folder(labelled: Path) -> None:
    assert [photo.path.stem for photo in gather([labelled], "cls", held_out=False, limit=2).photos] == [
        f"{10:012}",
        f"{11:012}",
    ]
    assert len(gather([labelled], "cls", held_out=False, limit=9).photos) == 3


@pytest.mark.parametrize("held_out", [False, True])
def test_no_photographs_is_a_sentence(tmp_path: Path, held_out: bool) -> None:
    with pytest.raises(UsageError, match="no photographs to evaluate on"):
        gather([tmp_path], "seg", held_out=held_out, limit=None)


def test_damaged_labels_are_a_sentence(labelled: Path) -> None:
    (labelled / "instances.json").write_text("{")
    with pytest.raises(UsageError, match=r"labels cannot be used.*instances\.json"):
        gather([labelled], "seg", held_out=False, limit=None)


class _Session:
    rates = 3


def test_rates_are_sorted_and_checked() -> None:
    session: Any = _Session()
    assert chosen_rates(session, None) == (0, 1, 2)
    assert chosen_rates(session, [2, 0, 2]) == (0, 2)
    with pytest.raises(UsageError, match=r"0 \(fewest bits\) to 2"):
        chosen_rates(session, [3])


def test_rivals_get_eight_bits() -> None:
    assert eight_bits(np.array([[[0.4, 0.6, 254.7]]], np.float32)).tolist() == [[[0, 1, 255]]]


def _point(codec: str, rate: int, bpp: float, error: float, figures: Mapping[str, float]) -> Point:
    def whole(value: float) -> Estimate:
        return Estimate(value, value, value)

    return Point(Setting(codec, rate), whole(bpp), whole(error), {name: whole(v) for name, v in figures.items()})


def test_curves_are_compared_figure_by_figure() -> None:
    points = [
        _point("ptp", 0, 0.1, 0.5, {"teacher_miou": 0.5}),
        _point("ptp", 1, 0.2, 0.3, {"teacher_miou": 0.7}),
        _point("jpeg", 10, 0.2, 0.5, {"teacher_miou": 0.5}),
        _point("jpeg", 20, 0.4, 0.3, {"teacher_miou": 0.7}),
        _point("webp", 10, 0.1, 0.9, {"teacher_miou": 0.1}),
        _point("webp", 20, 0.4, 0.8, {"teacher_miou": 0.2}),
    ]
    found = delta_rates(points)
    assert list(found) == ["jpeg", "webp"]
    assert found["jpeg"]["teacher_miou"].percent == pytest.approx(-50)
    assert found["jpeg"]["feature_error"].percent == pytest.approx(-50)
    assert found["webp"]["teacher_miou"].percent is None
    assert found["webp"]["teacher_miou"].reason.startswith("no overlap")


def test_what_is_too_few_is_said() -> None:
    def photos(count: int, learned: int) -> PhotoList:
        rows: Sequence[EvaluationPhoto] = [EvaluationPhoto(Path("a"), learned_from=k < learned) for k in range(count)]
        return PhotoList(tuple(rows), "somewhere")

    classes = {
        "cat": {"teacher": 9, "labels": 3},
        "dog": {"teacher": 5, "labels": 30},
        "cow": {"teacher": 0, "labels": 0},
    }
    assert notes(photos(50, 0), classes, labelled=False) == []
    few, learned, rare, missing = notes(photos(5, 2), classes, labelled=True)
    assert "5 photographs are too few" in few
    assert "2 of 5" in learned
    assert "cat (3)" in rare
    assert "dog" not in rare
    assert missing.endswith("shows: cow.")


def test_a_chart_names_its_curves_and_escapes_them() -> None:
    points = [CurvePoint(0.1, 0.5, 0.4, 0.6, "a < b"), CurvePoint(0.5, 0.9, None, None, "end")]
    picture = chart("quality & more", [Curve("ours", "#c00", points, True)], Level(0.95, "teacher"))
    assert picture.startswith("<svg")
    assert picture.count("<circle") == 2
    assert "a &lt; b" in picture
    assert "quality &amp; more" in picture
    assert "teacher" in picture
    assert ">ours<" in picture
