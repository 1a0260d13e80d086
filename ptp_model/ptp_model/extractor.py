"""Image extractor: four convolution layers that turn the decoded feature into a picture (section 3.2)."""

from __future__ import annotations

from compressai.layers import GDN
from torch import nn

from ptp_model.layers.convolution import conv, deconv
from ptp_model.spec import ModelSpec


def image_extractor(spec: ModelSpec) -> nn.Sequential:
    """Normalised feature [B, F, h, w] → image [B, 3, 4h, 4w], RGB around 0..1 (not clipped)."""
    a, b = spec.extractor
    return nn.Sequential(
        deconv(spec.F, a), GDN(a, inverse=True), conv(a, a, 3), nn.GELU(), deconv(a, b), nn.GELU(), conv(b, 3, 3)
    )
