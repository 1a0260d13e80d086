"""Main analysis and synthesis transforms, in two families, and the way to pick one by specification."""

from __future__ import annotations

from torch import nn

from ptp_model.spec import ModelSpec
from ptp_model.transforms import cnn, swin


def analysis(spec: ModelSpec) -> nn.Module:
    """g_a: normalised image [B, 3, H, W] → y before prompts [B, M, H/16, W/16]."""
    return cnn.analysis(spec) if spec.transform == "cnn" else swin.analysis(spec)


def synthesis(spec: ModelSpec) -> nn.Module:
    """g_s: ŷ [B, M, h, w] → normalised feature before prompts [B, F, 4h, 4w]."""
    return cnn.synthesis(spec) if spec.transform == "cnn" else swin.synthesis(spec)
