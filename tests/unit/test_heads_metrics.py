"""Figures for masks and boxes, against counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptp_model.training.heads import metrics


def test_mask_figures_by_hand() -> None:
    confusion = metrics.Confusion(4)
    truth = np.array([[0, 0, 1, 1], [0, 255, 1, 2]], dtype=np.uint8)
    prediction = np.array([[0, 1, 1, 1], [0, 3, 0, 2]], dtype=np.uint8)
    confusion.add(truth, prediction)
    figures = confusion.figures()
    assert figures.pixel_accuracy == pytest.approx(5 / 7)
    assert figures.class_iou[:3] == pytest.approx((2 / 4, 2 / 4, 1.0))
    assert math.isnan(figures.class_iou[3])  # predicted only where the truth is to be ignored
    assert figures.mean_iou == pytest.approx(2 / 3)


def test_a_class_that_is_only_predicted_counts_against_the_mean() -> None:
    confusion = metrics.Confusion(3)
    confusion.add(np.zeros((2, 2), dtype=np.uint8), np.array([[0, 0], [0, 2]], dtype=np.uint8))
    figures = confusion.figures()
    assert figures.mean_iou == pytest.approx(0.375)
    assert figures.mean_iou_present == pytest.approx(0.75)


def test_nothing_compared_is_an_error() -> None:
    confusion = metrics.Confusion(3)
    confusion.add(np.full((2, 2), 255, dtype=np.uint8), np.zeros((2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match="no labelled pixel"):
        confusion.figures()


def test_iou_matrix() -> None:
    first = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], dtype=np.float32)
    second = np.array([[1, 1, 3, 3], [0, 0, 2, 2]], dtype=np.float32)
    assert metrics.iou_matrix(first, second).tolist() == [[pytest.approx(1 / 7), 1.0], [0.0, 0.0]]


BOX = np.array([[0, 0, 10, 10]], dtype=np.float32)
FAR = np.array([[50, 50, 60, 60]], dtype=np.float32)
NONE = np.zeros((0, 4), dtype=np.float32)


def _scores(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_average_precision_by_hand() -> None:
    # By score: hit, miss, hit; one of three objects is never found. Precision 1, 1/2, 2/3; recall 1/3, 1/3, 2/3.
    photos = [
        (np.concatenate([BOX, FAR]), _scores(0.9, 0.8), BOX),
        (BOX, _scores(0.7), np.concatenate([BOX, FAR])),
    ]
    assert metrics.average_precision(photos) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)


def test_a_second_box_on_one_object_is_a_miss() -> None:
    photos = [(np.concatenate([BOX, BOX]), _scores(0.9, 0.8), np.concatenate([BOX, FAR]))]
    assert metrics.average_precision(photos) == pytest.approx(0.5)


def test_average_precision_without_objects_or_without_boxes() -> None:
    assert math.isnan(metrics.average_precision([(BOX, _scores(0.5), NONE)]))
    assert metrics.average_precision([(NONE, _scores(), BOX)]) == 0.0
