"""The hyper-structure: h_a, h_μ and h_σ.

The synthesis side uses ReLU only, so that it converts exactly to integers without retraining.
"""

from __future__ import annotations

from torch import nn

from ptp_model.layers.convolution import conv, subpixel
from ptp_model.spec import ModelSpec


def hyper_analysis(spec: ModelSpec) -> nn.Sequential:
    """h_a: y [B, M, h, w] → z before prompts [B, Z, h/4, w/4]."""
    layers: list[nn.Module] = []
    inputs = spec.M
    for i, (outputs, stride) in enumerate(spec.hyper_analysis):
        if i:
            layers.append(nn.GELU())
        layers.append(conv(inputs, outputs, 3, stride))
        inputs = outputs
    return nn.Sequential(*layers)


def hyper_synthesis(spec: ModelSpec) -> nn.Sequential:
    """h_μ or h_σ: ẑ [B, Z, h, w] → hyper parameters before prompts [B, M, 4h, 4w]."""
    a, b, c, d = spec.hyper_synthesis
    return nn.Sequential(
        conv(spec.Z, a, 3),
        nn.ReLU(),
        subpixel(a, b),
        nn.ReLU(),
        conv(b, c, 3),
        nn.ReLU(),
        subpixel(c, d),
        nn.ReLU(),
        conv(d, spec.M, 3),
    )
