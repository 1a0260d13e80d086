"""An analysis that begins with the teacher's own first layers (ours; the paper's g_a reads the image).

The feature h is what the decoder must rebuild, and the encoder's device can compute it: the stem is small, frozen and
the same for all tasks. The learned part then starts from h itself instead of having to imitate these layers.
"""

from __future__ import annotations

import torch
from compressai.layers import GDN
from torch import nn

from ptp_model.layers.attention import WindowAttentionModule
from ptp_model.layers.convolution import conv
from ptp_model.spec import ModelSpec
from ptp_model.teachers.stems import stem_layers


class TeacherStem(nn.Module):
    """Normalised image [B, 3, H, W] → h [B, F, H/4, W/4], sides multiples of 64; always in evaluation mode."""

    def __init__(self, teacher: str) -> None:
        super().__init__()
        self.layers = stem_layers(teacher)
        self.eval().requires_grad_(False)

    def adopt(self, layers: nn.Module) -> None:
        """Take over the weights of a teacher's stem."""
        ours = self.layers.state_dict()
        theirs = {name: value for name, value in layers.state_dict().items() if name in ours}
        self.layers.load_state_dict(ours | theirs)

    def train(self, mode: bool = True) -> TeacherStem:
        """Nothing here is ever trained: batch statistics stay the teacher's."""
        super().train(False)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h: torch.Tensor = self.layers(x)
        return h


def analysis(spec: ModelSpec) -> nn.Sequential:
    """Standardised h at stride 4 → y at stride 16: two stride-2 convolutions, attention at the end."""
    N, M = spec.N, spec.M
    return nn.Sequential(
        conv(spec.F, N, 5, 2),
        GDN(N),
        conv(N, M, 5, 2),
        WindowAttentionModule(M, spec.deep_attention),
    )
