"""Each numbered loss against a figure worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ptp_model.training import losses


def test_rate_counts_both_latents() -> None:
    assert losses.rate_bpp(torch.tensor([300.0]), torch.tensor([20.0]), 640).tolist() == pytest.approx([0.5])


def test_image_error_is_on_the_scale_of_bytes() -> None:
    assert losses.image_mse_255(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 2 / 255)).tolist() == pytest.approx(
        [4.0]
    )


def test_feature_error_is_relative_to_the_teachers_spread() -> None:
    h, std = torch.zeros(1, 2, 3, 3), torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1)
    h_hat = torch.stack([torch.full((3, 3), 1.0), torch.full((3, 3), 10.0)])[None]
    assert losses.feature_mse(h, h_hat, std).tolist() == pytest.approx([1.0])
    both = losses.feature_mse(torch.cat([h, h]), torch.cat([h_hat, 2 * h_hat]), std)
    assert both.tolist() == pytest.approx([1.0, 4.0]), "one figure an image"


def test_deep_features_count_relative_to_their_own_spread() -> None:
    a = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    b = 10 * a
    halves = [a / 2, b / 2]
    expected = 0.25 / float(a.var())
    assert losses.deep_feature_mse([a, b], halves).tolist() == pytest.approx([expected])
    assert losses.deep_feature_mse([a, b], [a, b]).tolist() == [0.0]


def test_kl_segmentation() -> None:
    teacher = torch.log(torch.tensor([0.75, 0.25])).reshape(1, 2, 1, 1)
    student = torch.log(torch.tensor([0.5, 0.5])).reshape(1, 2, 1, 1)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert losses.kl_segmentation(teacher, student).tolist() == pytest.approx([expected], rel=1e-5)
    assert losses.kl_segmentation(teacher, teacher).tolist() == pytest.approx([0], abs=1e-7)


def test_kl_classification_is_one_figure_an_image() -> None:
    teacher = torch.log(torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
    student = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert losses.kl_classification(teacher, student).tolist() == pytest.approx([expected, 0], rel=1e-5, abs=1e-7)
    shifted = losses.kl_classification(teacher, teacher + 3).tolist()
    assert shifted == pytest.approx([0, 0], abs=1e-6), "a constant on all logits changes nothing"
    bpp, error, kl = (torch.tensor([value]) for value in (2.0, 0.5, 0.25))
    assert losses.classification_loss(bpp, error, kl, 0.1).tolist() == pytest.approx([0.95])


def test_pixel_cross_entropy_ignores_void() -> None:
    student = torch.log(torch.tensor([0.8, 0.2])).reshape(1, 2, 1, 1).expand(1, 2, 1, 2)
    labels = torch.tensor([[[0, 255]]])
    assert losses.pixel_cross_entropy(student, labels).tolist() == pytest.approx([-math.log(0.8)], rel=1e-5)
    assert losses.pixel_cross_entropy(student, torch.full((1, 1, 2), 255)).tolist() == [0]


def test_detection_terms_count_matched_anchors_only() -> None:
    teacher = torch.logit(torch.tensor([[[0.9, 0.2], [0.5, 0.5]]]))
    student = torch.logit(torch.tensor([[[0.6, 0.2], [0.1, 0.9]]]))
    positives = torch.tensor([[True, False]])
    kl = 0.9 * math.log(0.9 / 0.6) + 0.1 * math.log(0.1 / 0.4)
    assert losses.kl_detection(teacher, student, positives) == pytest.approx(kl, rel=1e-4)
    cross_entropy = -math.log(0.6) - math.log(0.8)
    assert losses.box_cross_entropy(student, torch.tensor([[0, 1]]), positives) == pytest.approx(
        cross_entropy, rel=1e-4
    )
    deltas, targets = torch.tensor([[[1.0, 2, 3, 4], [9, 9, 9, 9]]]), torch.zeros(1, 2, 4)
    assert losses.box_regression(deltas, targets, positives) == pytest.approx(30.0)
    two = torch.tensor([[True, True], [False, False]])
    shifted = torch.tensor([[[1.0, 0, 0, 0], [3, 0, 0, 0]], [[5.0, 0, 0, 0], [7, 0, 0, 0]]])
    assert losses.box_regression(shifted, torch.zeros(2, 2, 4), two).tolist() == [5.0, 0.0], "N_b is each image's own"
    none = torch.zeros(1, 2, dtype=torch.bool)
    assert losses.kl_detection(teacher, student, none) == 0
    assert losses.box_regression(deltas, targets, none) == 0


def test_sums() -> None:
    half = torch.tensor(0.5)
    one = [torch.tensor(float(i)) for i in range(1, 6)]
    assert losses.stage1_distortion(one[1], one[2], one[3], 0.5, 10.0, 2.0) == 0.5 * 2 + 10 * 3 + 2 * 4
    assert losses.segmentation_loss(one[0], one[1], one[2], one[3], half) == 0.5 + 2 + 3 + 4
    assert losses.detection_loss(one[0], one[1], one[2], one[3], one[4], half) == 0.5 + 2 + 3 + 4 + 5


def test_rates_are_weighed() -> None:
    assert losses.rate_weights(1, 8.0).tolist() == [1.0]
    assert losses.rate_weights(4, 8.0).tolist() == pytest.approx([1 / 8, 1 / 4, 1 / 2, 1.0])
    bpp, distortion = torch.tensor([0.1, 0.5]), torch.tensor([4.0, 3.0])
    got = losses.rate_distortion(bpp, distortion, torch.tensor([0.25, 1.0]))
    assert got == pytest.approx(((0.1 + 1.0) / 0.5 + (0.5 + 3.0)) / 2)


def test_normalised_feature_error() -> None:
    h = torch.randn(1, 3, 8, 8)
    assert losses.normalised_feature_error(h, h) == 0
    assert losses.normalised_feature_error(h, h.mean((2, 3), keepdim=True).expand_as(h)) == pytest.approx(1.0)
