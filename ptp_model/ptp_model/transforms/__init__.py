"""Main analysis and synthesis transforms, in three families, and the way to pick one by specification."""

from __future__ import annotations

from torch import nn

from ptp_model.spec import ModelSpec
from ptp_model.transforms import cnn, stem, swin


def analysis(spec: ModelSpec) -> nn.Module:
    """g_a: normalised image [B, 3, H, W] → y before prompts [B, M, H/16, W/16].

    Behind a stem it reads the standardised feature [B, F, H/4, W/4] instead.
    """
    if spec.transform == "stem":
        return stem.analysis(spec)
    return cnn.analysis(spec) if spec.transform == "cnn" else swin.analysis(spec)


def teacher_stem(spec: ModelSpec) -> stem.TeacherStem | None:
    """What comes before g_a: the teacher's frozen first layers, or nothing."""
    return stem.TeacherStem(spec.teacher) if spec.transform == "stem" else None


def synthesis(spec: ModelSpec) -> nn.Module:
    """g_s: ŷ [B, M, h, w] → normalised feature before prompts [B, F, 4h, 4w]."""
    return swin.synthesis(spec) if spec.transform == "swin" else cnn.synthesis(spec)
