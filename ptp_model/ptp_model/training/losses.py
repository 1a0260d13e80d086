"""The losses of both training stages, each under the number it has in the paper (Shen & Liu, section 3.4).

Deviations, all on purpose:

* Equation (1) and (2), L_R: the paper's sentence names one latent; here R counts the bits of ŷ *and* ẑ.
* Stage 1 adds α·MSE of the normalised feature to the paper's rate and image error: a small p_gs alone would otherwise
  have to turn image features into the teacher's. α = 0 is the paper.
* Stage 1 may also add β·MSE of the teacher's deeper features, which the frozen backbone makes of h and of ĥ: what a
  task network makes of ĥ counts more than ĥ itself. β = 0 leaves it out.
* Several rates: λ, α and β are those of the highest rate. At a lower one the distortion counts less by a factor: in
  stage 1, where λ weighs the distortion, all three are smaller by it; in stage 2, where λ weighs the rate, λ is larger.
* Equation (3): h and ĥ are divided by the teacher's per-channel standard deviation, so that one weight serves all
  teachers.
* Task ``cls``, which the paper does not have: equation (1) over the classes of one answer an image, without labels.
* Equations (5), (7): RetinaNet scores are sigmoids, so the Kullback-Leibler divergence and cross-entropy take their
  Bernoulli form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

#: Label of pixels that count for nothing (VOC's "void").
IGNORE = 255


def rate_bpp(y_bits: Tensor, z_bits: Tensor, pixels: int) -> Tensor:
    """L_R: estimated bits of ŷ and ẑ [B] per pixel of an image, [B]."""
    return (y_bits + z_bits) / pixels


def image_mse_255(x: Tensor, x_hat: Tensor) -> Tensor:
    """255²·MSE between images in 0..1 (stage 1), one figure an image: [B]."""
    return 255.0**2 * (x_hat - x).square().flatten(1).mean(1)


def feature_mse(h: Tensor, h_hat: Tensor, std: Tensor) -> Tensor:
    """L_MSE, equation (3), with both features divided by ``std`` [1, F, 1, 1], one figure an image: [B]."""
    return ((h_hat - h) / std).square().flatten(1).mean(1)


def deep_feature_mse(theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> Tensor:
    """Squared error of deeper features, each level divided by the teacher's variance, averaged over levels: [B]."""
    errors = [(b - a).square().flatten(1).mean(1) / a.var() for a, b in zip(theirs, ours, strict=True)]
    return torch.stack(errors).mean(0)


def rate_weights(rates: int, span: float) -> Tensor:
    """Weight of the distortion at each rate relative to the highest rate's, lowest first: 1/span … 1, float32 [rates].

    Evenly spaced in the logarithm: neighbouring rates then differ by about the same factor.
    """
    return torch.logspace(-math.log10(span), 0.0, rates) if rates > 1 else torch.ones(1)


def kl_segmentation(teacher: Tensor, student: Tensor) -> Tensor:
    """L_KL-seg, equation (4): KL(teacher ‖ student) of the class distributions, averaged over an image's pixels: [B].

    Args:
        teacher, student: logits [B, C, H, W].
    """
    log_t, log_s = teacher.log_softmax(1), student.log_softmax(1)
    return (log_t.exp() * (log_t - log_s)).sum(1).mean((1, 2))


def kl_classification(teacher: Tensor, student: Tensor) -> Tensor:
    """Equation (4) for one answer an image: KL(teacher ‖ student) of the class distributions, one figure an image: [B].

    Args:
        teacher, student: logits [B, C].
    """
    log_t, log_s = teacher.log_softmax(1), student.log_softmax(1)
    return (log_t.exp() * (log_t - log_s)).sum(1)


def pixel_cross_entropy(student: Tensor, labels: Tensor) -> Tensor:
    """L_PCE, equation (6): cross-entropy averaged over an image's labelled pixels, 0 when none is: [B].

    Args:
        student: logits [B, C, H, W].
        labels: int64 [B, H, W], 255 = ignore.
    """
    total = functional.cross_entropy(student, labels, ignore_index=IGNORE, reduction="none").sum((1, 2))
    return total / (labels != IGNORE).sum((1, 2)).clamp_min(1)


def kl_detection(teacher: Tensor, student: Tensor, positives: Tensor) -> Tensor:
    """L_KL-obj, equation (5), Bernoulli form: summed over classes and an image's matched anchors, over its N_b: [B].

    Args:
        teacher, student: logits [B, A, K].
        positives: bool [B, A], anchors matched to a box with IoU > 0.5.
    """
    t, s = teacher[positives], student[positives]
    p = t.sigmoid()
    kl = p * (functional.logsigmoid(t) - functional.logsigmoid(s))
    kl = kl + (1 - p) * (functional.logsigmoid(-t) - functional.logsigmoid(-s))
    return _over_matched(kl.sum(1), positives)


def box_cross_entropy(student: Tensor, labels: Tensor, positives: Tensor) -> Tensor:
    """L_BCE, equation (7), Bernoulli form: summed over classes and an image's matched anchors, over its N_b: [B].

    Args:
        student: logits [B, A, K].
        labels: int64 [B, A], class of the matched box (anything where unmatched).
        positives: bool [B, A].
    """
    target = functional.one_hot(labels[positives], student.shape[-1]).to(student.dtype)
    errors = functional.binary_cross_entropy_with_logits(student[positives], target, reduction="none")
    return _over_matched(errors.sum(1), positives)


def box_regression(deltas: Tensor, targets: Tensor, positives: Tensor) -> Tensor:
    """L_b / N_b, equation (8): squared error of RetinaNet's deltas [B, A, 4] over an image's matched anchors: [B]."""
    return _over_matched((deltas - targets)[positives].square().sum(1), positives)


def _over_matched(values: Tensor, positives: Tensor) -> Tensor:
    """Sum of the values of each image's matched anchors, divided by N_b = max(1, matched anchors).

    Args:
        values: [matched anchors of the batch], in the order of ``positives`` [B, A].
    """
    image = positives.nonzero()[:, 0]
    sums = values.new_zeros(len(positives)).index_add(0, image, values)
    return sums / positives.sum(1).clamp_min(1)


def stage1_distortion(
    image_error: Tensor, feature_error: Tensor, deep_error: Tensor | float, lam: float, alpha: float, beta: float
) -> Tensor:
    """λ·255²·MSE(x, x̂) + α·MSE(h/s, ĥ/s) + β·(relative error of deeper features), one figure an image: [B]."""
    return lam * image_error + alpha * feature_error + beta * deep_error


def rate_distortion(bpp: Tensor, distortion: Tensor, weight: Tensor) -> Tensor:
    """Mean over images of (bpp + weight·distortion) / √weight, all [B].

    With one rate every weight is 1 and this is the paper's sum. With several, the division keeps the lowest rates,
    whose bits and slopes are small, from drowning in the highest.
    """
    return ((bpp + weight * distortion) / weight.sqrt()).mean()


def segmentation_loss(bpp: Tensor, feature_error: Tensor, kl: Tensor, cross_entropy: Tensor, lam: Tensor) -> Tensor:
    """L_seg, equation (1), one figure an image: [B]."""
    return lam * bpp + feature_error + kl + cross_entropy


def classification_loss(bpp: Tensor, feature_error: Tensor, kl: Tensor, lam: Tensor | float) -> Tensor:
    """Equation (1) without its cross-entropy, for ``cls``: the teacher's own answer takes the place of labels."""
    return lam * bpp + feature_error + kl


def detection_loss(
    bpp: Tensor, feature_error: Tensor, kl: Tensor, cross_entropy: Tensor, regression: Tensor, lam: Tensor
) -> Tensor:
    """L_obj, equation (2), one figure an image: [B]; ``regression`` is L_b / N_b."""
    return lam * bpp + feature_error + kl + cross_entropy + regression


def normalised_feature_error(h: Tensor, h_hat: Tensor) -> Tensor:
    """‖h - ĥ‖² / ‖h - mean(h)‖² of one image, the mean taken per channel. 0 is perfect, 1 is the mean.

    Args:
        h, h_hat: [1, F, H, W].
    """
    return (h - h_hat).square().sum() / (h - h.mean((2, 3), keepdim=True)).square().sum().clamp_min(
        torch.finfo(h.dtype).tiny
    )
