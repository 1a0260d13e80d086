"""Figures of fidelity by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ptp_export.evaluation.fidelity import feature_error, mean_iou


def test_masks() -> None:
    a = np.array([[0, 0], [8, 8]], np.uint8)
    b = np.array([[0, 8], [8, 8]], np.uint8)
    assert mean_iou(a, a) == 1
    assert mean_iou(a, b) == pytest.approx((1 / 2 + 2 / 3) / 2)
    with pytest.raises(ValueError, match="equal shapes"):
        mean_iou(a, b[:1])


def test_feature_error_is_one_for_the_mean() -> None:
    h = np.random.default_rng(0).normal(size=(1, 3, 5, 7)).astype(np.float32)
    assert feature_error(h, h) == 0
    mean = np.broadcast_to(h.mean((2, 3), keepdims=True), h.shape)
    assert feature_error(h, mean) == pytest.approx(1)
