"""Task prompts: five small networks in parallel to the codec's, one sum each (section 3.3, "Task Prompt").

y = g_a(x) + p_ga(x); z = h_a(y) + p_ha(y); μ_h = h_μ(ẑ) + p_hμ(ẑ); σ_h = h_σ(ẑ) + p_hσ(ẑ); ĥ = g_s(ŷ) + p_gs(ŷ).
"""

from __future__ import annotations

from torch import nn

from ptp_model.layers.convolution import conv, deconv, subpixel
from ptp_model.spec import ModelSpec


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """Zero weight and bias: the branch adds exactly 0 and its last layer still receives a gradient.

    The paper says "the initialization of parameters ... is set to zero"; all layers at zero could never train.
    """
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class TaskPrompts(nn.Module):
    """The five prompts of one task. Freshly built they change nothing.

    Attributes:
        p_ga: normalised image → [B, M, H/16, W/16].
        p_ha: y → [B, Z, H/64, W/64].
        p_hmu, p_hsigma: ẑ → [B, M, H/16, W/16]; ReLU, as everything in the entropy path.
        p_gs: ŷ → normalised feature [B, F, H/4, W/4].
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        w, gelu, relu = spec.prompt_width, nn.GELU, nn.ReLU
        self.p_ga = nn.Sequential(
            conv(3, w, 5, 2), gelu(), conv(w, w, 5, 2), gelu(), conv(w, w, 5, 2), gelu(), _silent(conv(w, spec.M, 5, 2))
        )
        self.p_ha = nn.Sequential(
            conv(spec.M, w, 3), gelu(), conv(w, w, 3, 2), gelu(), conv(w, w, 3, 2), gelu(), _silent(conv(w, spec.Z, 3))
        )
        self.p_hmu = self._hyper(spec, relu)
        self.p_hsigma = self._hyper(spec, relu)
        self.p_gs = nn.Sequential(
            conv(spec.M, w, 3), gelu(), deconv(w, w), gelu(), deconv(w, w), gelu(), _silent(conv(w, spec.F, 3))
        )

    @staticmethod
    def _hyper(spec: ModelSpec, activation: type[nn.Module]) -> nn.Sequential:
        w = spec.prompt_width
        return nn.Sequential(
            conv(spec.Z, w, 3),
            activation(),
            subpixel(w, w),
            activation(),
            subpixel(w, w),
            activation(),
            _silent(conv(w, spec.M, 3)),
        )
