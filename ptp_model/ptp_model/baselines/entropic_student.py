"""Entropic Student: the learned bottleneck that our codec is measured against.

Matsubara et al., "Supervised Compression for Resource-Constrained Edge Computing Systems" (WACV 2022). A small encoder
and decoder replace everything of the teacher before h, and a factorised prior gives the probabilities: no hyper-prior,
no context, no prompts. Layers as in the authors' code: GDN in its simplified form (arXiv 1912.08771), convolutions
without bias, kernels of 2 that take a row and a column away where they do not pad.

    image H ─conv5 s2─► H/2 ─conv5 s2─► H/4 ─conv2─► H/4 - 1 = y
    y H/4 - 1 ─conv2, pad 1─► H/4 ─conv2─► H/4 - 1 ─conv2, pad 1─► H/4 = ĥ

Halves are rounded up at every stride, as the teacher's are: ĥ has the size of h for every image of 5 pixels or more.

What differs, all in its favour or for the sake of equal terms: the decoder works on h in units of the teacher's own
statistics, as ours does, and its last width is the teacher's (the paper's teachers all have 256 channels there).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.layers import GDN1
from torch import Tensor, nn

from ptp_model.errors import SpecError
from ptp_model.rate import factorised_bits
from ptp_model.spec import TEACHERS

#: Channels of the latent y.
LATENT_CHANNELS = 24
_ENCODER = (96, 48)
_DECODER = (512, 256)


@dataclass(frozen=True)
class StudentOutput:
    """What a training step needs.

    Attributes:
        feature: ĥ [B, F, ceil(H/4), ceil(W/4)].
        bits: estimated, of each image [B].
    """

    feature: Tensor
    bits: Tensor


class EntropicStudent(nn.Module):
    """Encoder, factorised prior and decoder; one rate, which the training decides.

    Args:
        teacher: key of :data:`ptp_model.spec.TEACHERS`; gives the image's normalisation and the last width.

    Raises:
        SpecError: no such teacher.
    """

    image_mean: Tensor
    image_std: Tensor
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, teacher: str) -> None:
        super().__init__()
        if teacher not in TEACHERS:
            raise SpecError(f"teacher is {teacher!r}; expected one of {', '.join(TEACHERS)}")
        self.teacher = teacher
        known = TEACHERS[teacher]
        self.register_buffer("image_mean", torch.tensor(known.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(known.std).reshape(1, 3, 1, 1), persistent=False)
        # Statistics of the teacher's feature; the decoder's last layer gives (h - mean) / std.
        self.register_buffer("feature_mean", torch.zeros(1, known.channels, 1, 1))
        self.register_buffer("feature_std", torch.ones(1, known.channels, 1, 1))
        a, b = _ENCODER
        self.encoder = nn.Sequential(
            _conv(3, a, 5, 2, 2), GDN1(a), _conv(a, b, 5, 2, 2), GDN1(b), _conv(b, LATENT_CHANNELS, 2, 1, 0)
        )
        self.entropy_bottleneck = EntropyBottleneck(LATENT_CHANNELS)
        c, d = _DECODER
        self.decoder = nn.Sequential(
            _conv(LATENT_CHANNELS, c, 2, 1, 1),
            GDN1(c, inverse=True),
            _conv(c, d, 2, 1, 0),
            GDN1(d, inverse=True),
            _conv(d, known.channels, 2, 1, 1),
        )

    def analysis(self, image: Tensor) -> Tensor:
        """RGB in 0..1 [B, 3, H, W], sides of 5 or more → y [B, 24, ceil(H/4) - 1, ceil(W/4) - 1], unrounded."""
        y: Tensor = self.encoder((image - self.image_mean) / self.image_std)
        return y

    def synthesis(self, y_hat: Tensor) -> Tensor:
        """ŷ [B, 24, h - 1, w - 1] → ĥ [B, F, h, w]."""
        feature: Tensor = self.decoder(y_hat) * self.feature_std + self.feature_mean
        return feature

    def forward(self, image: Tensor, generator: torch.Generator | None = None) -> StudentOutput:
        """Decoded feature and estimated bits, both from latents with additive noise, as the authors train it.

        Args:
            image: [B, 3, H, W].
            generator: of the noise; torch's own where none is given.
        """
        y = self.analysis(image).float()
        noisy = y + torch.empty_like(y).uniform_(-0.5, 0.5, generator=generator)
        with torch.autocast(image.device.type, enabled=False):
            bits = factorised_bits(self.entropy_bottleneck, noisy).flatten(1).sum(1)
        return StudentOutput(self.synthesis(noisy), bits)

    # Real bytes ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare_coder(self) -> None:
        """Find the medians and tails of the prior and make the coder's tables from it; once, when training is over."""
        self.entropy_bottleneck.update(force=True, update_quantiles=True)

    @torch.no_grad()
    def compress(self, image: Tensor) -> bytes:
        """One image [1, 3, H, W] as the bytes of compressai's rANS coder. The image's size is not in them."""
        data: bytes = self.entropy_bottleneck.compress(self.analysis(image))[0]
        return data

    @torch.no_grad()
    def decompress(self, data: bytes, height: int, width: int) -> Tensor:
        """ŷ [1, 24, ceil(H/4) - 1, ceil(W/4) - 1] from the bytes of an image of this size.

        Args:
            data: as :meth:`compress` gave them.
            height, width: of the image, pixels.
        """
        y_hat: Tensor = self.entropy_bottleneck.decompress([data], latent_size(height, width))
        return y_hat

    @torch.no_grad()
    def rounded(self, image: Tensor) -> Tensor:
        """ŷ as the decoder will see it, without coding it."""
        medians = self.entropy_bottleneck.quantiles[:, 0, 1].reshape(1, -1, 1, 1)
        y_hat: Tensor = torch.round(self.analysis(image) - medians) + medians
        return y_hat


def latent_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of y for an image of this size in pixels."""
    return -(-height // 4) - 1, -(-width // 4) - 1


def _conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
