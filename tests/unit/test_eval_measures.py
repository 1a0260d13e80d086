"""Figures of masks, boxes and classes, worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptp_export.evaluation.curves.bootstrap import draws
from ptp_export.evaluation.measures import measure_of
from ptp_export.evaluation.measures.detection import AveragePrecision, DetectionMeasure
from ptp_export.evaluation.measures.segmentation import confusion, mean_ious
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_runtime.errors import UsageError
from ptp_runtime.tasks import Classification, Detections, Segmentation

CLASSES = ("__background__", "cat", "dog")


def _mask(*rows: list[int]) -> Segmentation:
    return Segmentation(np.array(rows, np.uint8), CLASSES)


def test_ignored_pixels_do_not_count() -> None:
    truth = np.array([[0, 1], [255, 1]], np.uint8)
    found = np.array([[0, 1], [2, 0]], np.uint8)
    assert confusion(truth, found, 3).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="equal shapes"):
        confusion(truth, found[:1], 3)


def test_mean_iou_of_the_set_is_not_the_mean_of_photographs() -> None:
    first = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])  # class 0: 3 / 4, class 1: 4 / 5
    second = np.array([[0, 0, 0], [0, 0, 0], [2, 0, 2]])  # class 2: 2 / 4; class 0 loses 2
    both = np.stack([first, second])
    one, other, together, twice = mean_ious(both, np.array([[1, 0], [0, 1], [1, 1], [2, 0]]))
    assert one == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert other == pytest.approx(1 / 2)
    assert together == pytest.approx((3 / 6 + 4 / 5 + 2 / 4) / 3)
    assert twice == pytest.approx(one)
    assert np.isnan(mean_ious(np.zeros((1, 3, 3), np.int64), np.array([[1]]))[0])


def test_masks() -> None:
    measure = measure_of("seg", CLASSES)
    teacher = _mask([0, 0, 1, 1])
    labels = np.array([[0, 1, 1, 255]], np.uint8)
    same = measure.record(teacher, teacher, labels)
    half = measure.record(_mask([0, 0, 0, 1]), teacher, None)
    found = measure.summary([same, half], draws(2, 0))
    assert found["pixel_agreement"].value == pytest.approx((1 + 3 / 4) / 2)
    assert found["teacher_photo_miou"].value == pytest.approx((1 + (2 / 3 + 1 / 2) / 2) / 2)
    assert found["teacher_miou"].value == pytest.approx((4 / 5 + 3 / 4) / 2)
    assert found["miou"].value == pytest.approx((1 / 2 + 1 / 2) / 2)  # the ignored pixel is in neither
    assert "miou" not in measure.summary([half], draws(1, 0))
    assert measure.photos_of_classes([same, half])["cat"] == {"teacher": 2, "labels": 1}
    assert measure.photos_of_classes([same, half])["dog"] == {"teacher": 0, "labels": 0}


def _classes(*probabilities: float) -> Classification:
    p = np.array(probabilities, np.float32)
    order = np.argsort(-p)[:5]
    return Classification(order, p[order], p, tuple("abcdefg"[: len(p)]))


def test_classes() -> None:
    measure = measure_of("cls", ())
    assert measure.labels(EvaluationPhoto(Path("a.jpg"))) is None
    teacher = _classes(0.1, 0.6, 0.1, 0.05, 0.05, 0.05, 0.05)
    records = [
        measure.record(teacher, teacher, None),
        measure.record(_classes(0.4, 0.3, 0.1, 0.05, 0.05, 0.05, 0.05), teacher, None),
        measure.record(_classes(0.3, 0.01, 0.2, 0.2, 0.1, 0.1, 0.09), teacher, None),
        measure.record(teacher, teacher, None),
    ]
    found = measure.summary(records, draws(4, 0))
    assert found["top1_agreement"].value == 0.5
    assert found["top5_agreement"].value == 0.75
    assert found["top1_agreement"].low < 0.5 < found["top1_agreement"].high
    assert measure.photos_of_classes(records) == {"b": {"teacher": 4, "labels": 0}}


def _boxes(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), CLASSES)


def test_boxes() -> None:
    measure = measure_of("det", CLASSES)
    sure = _boxes((10, 10, 50, 50, 0.9, 1), (60, 60, 90, 90, 0.8, 2), (0, 0, 5, 5, 0.1, 1))
    label = ({"bbox": [10, 10, 40, 40], "category_id": 1, "area": 1600, "iscrowd": 0},)
    same = measure.record(sure, sure, label)
    lost = measure.record(_boxes((10, 10, 50, 50, 0.9, 1)), sure, None)
    assert len(same.teacher) == 2, "a guess of the teacher's is no truth"
    perfect = measure.summary([same], draws(1, 0))
    assert [perfect[name].value for name in ("teacher_map", "teacher_ap50")] == pytest.approx([1, 1])
    assert perfect["map"].value == pytest.approx(1)
    half = measure.summary([lost], draws(1, 0))
    assert half["teacher_map"].value == pytest.approx(0.5)  # cat 1, dog 0
    assert "map" not in half
    assert measure.photos_of_classes([same, lost]) == {
        "cat": {"teacher": 2, "labels": 1},
        "dog": {"teacher": 2, "labels": 0},
    }


def test_a_box_that_is_a_little_off_loses_at_strict_thresholds_only() -> None:
    truth = {"bbox": [0.0, 0.0, 100.0, 100.0], "category_id": 1, "area": 1e4, "iscrowd": 0}
    found = {"bbox": [0.0, 0.0, 100.0, 72.0], "category_id": 1, "area": 7200.0, "iscrowd": 0, "score": 0.9}
    precision = AveragePrecision([([found], [truth])])
    ones = np.ones((1, 1), np.int64)
    assert precision.at_half(ones)[0] == pytest.approx(1)
    assert precision.mean(ones)[0] == pytest.approx(0.5)  # 0.50, 0.55, 0.60, 0.65, 0.70 of ten thresholds


def test_a_box_in_a_crowd_is_no_mistake() -> None:
    crowd = {"bbox": [0.0, 0.0, 50.0, 50.0], "category_id": 1, "area": 2500.0, "iscrowd": 1}
    truth = {"bbox": [60.0, 60.0, 20.0, 20.0], "category_id": 1, "area": 400.0, "iscrowd": 0}
    inside = {"bbox": [5.0, 5.0, 20.0, 20.0], "category_id": 1, "area": 400.0, "iscrowd": 0, "score": 0.9}
    right = {**truth, "score": 0.8}
    ones = np.ones((1, 1), np.int64)
    assert AveragePrecision([([inside, right], [truth, crowd])]).mean(ones)[0] == pytest.approx(1)
    assert AveragePrecision([([inside, right], [truth])]).mean(ones)[0] == pytest.approx(0.5)


def test_a_resample_is_the_set_it_names() -> None:
    generator = np.random.default_rng(0)
    photos = []
    for _ in range(5):
        boxes = [[*generator.uniform(0, 50, 2), *generator.uniform(10, 40, 2)] for _ in range(3)]
        truth = [
            {"bbox": box, "category_id": 1 + k % 2, "area": box[2] * box[3], "iscrowd": 0}
            for k, box in enumerate(boxes)
        ]
        found = [{**note, "score": generator.uniform()} for note in truth[1:]]
        found.append({"bbox": [0, 0, 9, 9], "category_id": 1, "area": 81, "iscrowd": 0, "score": generator.uniform()})
        photos.append((found, truth))
    counts = np.array([[2, 0, 1, 0, 2]])
    repeated = [photos[k] for k, count in enumerate(counts[0]) for _ in range(count)]
    whole = AveragePrecision(repeated)
    assert AveragePrecision(photos).mean(counts)[0] == pytest.approx(whole.mean(np.ones((1, 5), np.int64))[0])


def test_no_true_box_is_no_figure() -> None:
    assert np.isnan(AveragePrecision([([], [])]).mean(np.ones((1, 1), np.int64))[0])
    assert DetectionMeasure.metric == "map"


def test_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match="seg, det or cls"):
        measure_of("view", ())
    with pytest.raises(TypeError, match="expected masks"):
        measure_of("seg", CLASSES).record(_boxes(), _mask([0]), None)
