"""Photographs that training commands are given: what is left out, what refused, what each task makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptp_export.training_photos import batches_of, gather
from ptp_model.training.box_crops import BoxCrops
from ptp_model.training.resized_crops import ResizedCrops
from ptp_model.training.split import SplitError
from ptp_model.training.stage2 import MaskedCrops
from ptp_runtime.errors import UsageError

NONE: frozenset[str] = frozenset()


def _picture(path: Path, side: int = 80) -> None:
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Photographs 4 (mask and box), 5 (neither) and 6 (held out)."""
    folder = tmp_path / "labelled"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for image_id in (4, 5, 6):
        _picture(folder / "images" / f"{image_id}.png")
    Image.new("L", (80, 80), 15).save(folder / "masks" / "4.png")
    rows = [{"id": i, "file_name": f"{i}.png", "height": 80, "width": 80} for i in (4, 5, 6)]
    notes = [{"id": 1, "image_id": 4, "category_id": 1, "bbox": [5, 5, 70, 70]}]
    (folder / "instances.json").write_text(json.dumps({"images": rows, "annotations": notes}))
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Photographs without labels: a large one, a small one, and one of the same name as one that is held out."""
    folder = tmp_path / "bare"
    (folder / "deep").mkdir(parents=True)
    _picture(folder / "deep" / "large.png")
    _picture(folder / "small.png", side=40)
    _picture(folder / "6.png")
    return folder


def test_what_is_held_out_is_left_out(labelled: Path, bare: Path) -> None:
    found = gather([bare], labelled, frozenset({"small", "earlier"}))
    assert [photo.image_id for photo in found.labelled] == [4, 5]
    assert [path.name for path in found.bare] == ["large.png"]
    assert found.held_out == {"6", "small", "earlier"}
    assert [path.name for path in found.files] == ["4.png", "5.png", "large.png"]


def test_no_folder_and_no_photograph_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no photographs"):
        gather([], None, NONE)
    with pytest.raises(UsageError, match="no photographs"):
        batches_of(gather([tmp_path], None, NONE), "seg", 64, 0)


def test_a_reserved_photograph_among_labelled_ones_is_refused(labelled: Path, shipped_photos: dict[str, Path]) -> None:
    (labelled / "images" / "5.png").write_bytes(shipped_photos["dogs.jpg"].read_bytes())
    with pytest.raises(SplitError, match=r"5\.png.*this one is for calibration"):
        gather([], labelled, NONE)


def test_each_task_gets_its_labels(labelled: Path, bare: Path) -> None:
    found = gather([bare], labelled, NONE, masks=True)
    seg, count = batches_of(found, "seg", 64, 0)
    assert isinstance(seg, MaskedCrops)
    assert count == 3, "the small photograph is passed over"
    assert seg.labelled == [0]
    batch = seg(0, 8)
    assert batch.mask is not None
    assert set(batch.mask.unique().tolist()) == {15, 255}

    det, _ = batches_of(found, "det", 64, 0)
    assert isinstance(det, BoxCrops)
    assert det.labelled == [0, 1], "a photograph without objects is annotated too"
    assert {found is None for step in range(4) for found in det(step, 4).boxes} == {True, False}

    cls, count = batches_of(found, "cls", 64, 0)
    assert isinstance(cls, ResizedCrops)
    assert count == 3
    assert cls(0, 2).image.shape == (2, 3, 64, 64)


def test_detection_without_annotations_takes_plain_crops(bare: Path) -> None:
    batches, _ = batches_of(gather([bare], None, NONE), "det", 64, 0)
    assert isinstance(batches, MaskedCrops)
    assert batches(0, 1).boxes == ()
