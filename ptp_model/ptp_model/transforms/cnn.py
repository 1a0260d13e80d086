"""Convolutional transforms with GDN and window attention (section 3.1; arXiv 2203.08450 for the attention module)."""

from __future__ import annotations

from compressai.layers import GDN
from torch import nn

from ptp_model.layers.attention import WindowAttentionModule
from ptp_model.layers.convolution import conv, deconv
from ptp_model.spec import ModelSpec


def analysis(spec: ModelSpec) -> nn.Sequential:
    """Four stride-2 convolutions; attention at strides 4 and 16."""
    E, N, M = spec.early_width, spec.N, spec.M
    return nn.Sequential(
        conv(3, E, 5, 2),
        GDN(E),
        conv(E, E, 5, 2),
        GDN(E),
        WindowAttentionModule(E, spec.analysis_attention),
        conv(E, N, 5, 2),
        GDN(N),
        conv(N, M, 5, 2),
        WindowAttentionModule(M, spec.deep_attention),
    )


def synthesis(spec: ModelSpec) -> nn.Sequential:
    """Two stride-2 transposed convolutions: stride 16 → 4; attention at both ends."""
    N, M, F = spec.N, spec.M, spec.F
    return nn.Sequential(
        WindowAttentionModule(M, spec.deep_attention),
        deconv(M, N),
        GDN(N, inverse=True),
        deconv(N, F),
        GDN(F, inverse=True),
        WindowAttentionModule(F, spec.synthesis_attention),
    )
