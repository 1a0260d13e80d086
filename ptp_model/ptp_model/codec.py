"""Part 1 of the network: the universal feature codec, with the prompts of one task or none (figure 1).

Four views of the same modules: :meth:`FeatureCodec.forward` for training (noise and straight-through rounding, bits
estimated), the single stages for export, and :meth:`FeatureCodec.latents` / :meth:`FeatureCodec.reconstruct` as the
reference of what the runtime must do, symbol by symbol.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from compressai.entropy_models import EntropyBottleneck
from torch import Tensor, nn

from ptp_model import transforms
from ptp_model.context import context_model
from ptp_model.context.schedule import Step, box, coded_positions
from ptp_model.extractor import image_extractor
from ptp_model.gains import RateGains
from ptp_model.hyper import hyper_analysis, hyper_synthesis
from ptp_model.lrcp import LatentResidualPrediction
from ptp_model.prompts import TaskPrompts
from ptp_model.quantization import FEATURE_LIMIT, LATENT_LIMIT, MEAN_LIMIT, MEAN_STEPS, bound, limited, ste_round
from ptp_model.rate import factorised_bits, factorised_pmf, gaussian_bits
from ptp_model.spec import ModelSpec

#: A residual symbol larger than this is clamped; it would mean |y - μ| above two thousand.
SYMBOL_LIMIT = 2047


@dataclass(frozen=True)
class TrainingOutput:
    """What a training step needs.

    Attributes:
        feature: ĥ [B, F, H/4, W/4].
        y_bits, z_bits: estimated bits of each image [B].
    """

    feature: Tensor
    y_bits: Tensor
    z_bits: Tensor


@dataclass(frozen=True)
class Latents:
    """All that is coded of one image, and what the decoder rebuilds from it.

    Attributes:
        z: int32 [B, Z, h/4, w/4].
        symbols: residuals q, int32 [B, M, h, w]; 0 where skipped.
        indices: scale index, uint8 [B, M, h, w].
        y_int: decoded latents in sixteenths, float32 with integer values [B, M, h, w].
        mu_hyper: [B, M, h, w], needed by the synthesis.
    """

    z: Tensor
    symbols: Tensor
    indices: Tensor
    y_int: Tensor
    mu_hyper: Tensor


class FeatureCodec(nn.Module):
    """g_a, h_a, h_μ, h_σ, the context model, LRCP, g_s and the image extractor.

    Images are [B, 3, H, W], RGB in 0..1, H and W multiples of 64 (the caller pads).
    """

    image_mean: Tensor
    image_std: Tensor
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("image_mean", torch.tensor(spec.image_mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(spec.image_std).reshape(1, 3, 1, 1), persistent=False)
        # Statistics of the teacher's feature; the networks work on (h - mean) / std.
        self.register_buffer("feature_mean", torch.zeros(1, spec.F, 1, 1))
        self.register_buffer("feature_std", torch.ones(1, spec.F, 1, 1))
        self.stem = transforms.teacher_stem(spec)
        self.g_a = transforms.analysis(spec)
        self.h_a = hyper_analysis(spec)
        self.h_mu = hyper_synthesis(spec)
        self.h_sigma = hyper_synthesis(spec)
        self.entropy_bottleneck = EntropyBottleneck(spec.Z)
        self.context = context_model(spec)
        self.lrcp = LatentResidualPrediction(spec)
        self.g_s = transforms.synthesis(spec)
        self.image_extractor = image_extractor(spec)
        self.gains = RateGains(spec.rates, spec.M) if spec.rates > 1 else None

    def gain(self, rate: int) -> Tensor | None:
        """Gains of one rate, [1, M, 1, 1]; None where the codec has one rate only."""
        return None if self.gains is None else self.gains.vector(rate)

    # Stages, as exported ---------------------------------------------------------------------------------------

    def analysis(
        self, image: Tensor, prompts: TaskPrompts | None = None, gain: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Image (and gains of a rate, [B or 1, M, 1, 1]) → y [B, M, H/16, W/16] and z [B, Z, H/64, W/64], unrounded."""
        x = (image - self.image_mean) / self.image_std
        y = self.g_a(x if self.stem is None else (self.stem(x) - self.feature_mean) / self.feature_std)
        if prompts is not None:
            y = y + prompts.p_ga(x)
        y = limited(y, LATENT_LIMIT)
        if gain is not None:
            y = y * gain
        z = self.h_a(y)
        if prompts is not None:
            z = z + prompts.p_ha(y)
        return y, z

    def hyper_synthesis(self, z_hat: Tensor, prompts: TaskPrompts | None = None) -> tuple[Tensor, Tensor]:
        """Rounded ẑ → mu_hyper, scale_hyper [B, M, 4h, 4w]."""
        mu, scale = self.h_mu(z_hat), self.h_sigma(z_hat)
        if prompts is not None:
            mu, scale = mu + prompts.p_hmu(z_hat), scale + prompts.p_hsigma(z_hat)
        return mu, scale

    def synthesis(
        self, y_int: Tensor, mu_hyper: Tensor, prompts: TaskPrompts | None = None, gain: Tensor | None = None
    ) -> Tensor:
        """Decoded latents in sixteenths, coded with these gains → ĥ [B, F, H/4, W/4]."""
        y = self.lrcp(y_int * (1 / MEAN_STEPS), mu_hyper)
        if gain is not None:
            y = y / gain
        y = limited(y, LATENT_LIMIT)
        feature = self.g_s(y)
        if prompts is not None:
            feature = feature + prompts.p_gs(y)
        decoded: Tensor = limited(feature, FEATURE_LIMIT) * self.feature_std + self.feature_mean
        return decoded

    def extractor(self, feature: Tensor) -> Tensor:
        """ĥ [B, F, h, w] → image [B, 3, 4h, 4w], RGB around 0..1."""
        image: Tensor = self.image_extractor((feature - self.feature_mean) / self.feature_std)
        return image + 0.5

    def z_pmf(self, limit: int) -> Tensor:
        """Probability of each integer z in [-limit, limit] per channel, float64."""
        return factorised_pmf(self.entropy_bottleneck, limit)

    # Training --------------------------------------------------------------------------------------------------

    def forward(
        self,
        image: Tensor,
        prompts: TaskPrompts | None = None,
        rate: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> TrainingOutput:
        """Decoded feature and estimated bits; additive noise for the bits, straight-through rounding elsewhere.

        Args:
            image: [B, 3, H, W].
            prompts: of the task.
            rate: number of each image's rate, int64 [B]; the highest where none is given.
            generator: of the noise; torch's own where none is given.
        """
        gain = None
        if self.gains is not None:
            highest = torch.full((len(image),), self.spec.rates - 1, device=image.device)
            gain = self.gains(highest if rate is None else rate)
        return self.coded(image, prompts, gain, generator)

    def coded(
        self,
        image: Tensor,
        prompts: TaskPrompts | None = None,
        gain: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> TrainingOutput:
        """As :meth:`forward`, with gains [B, M, 1, 1] in place of the rates' numbers."""

        def noise(like: Tensor) -> Tensor:
            return torch.empty_like(like).uniform_(-0.5, 0.5, generator=generator)

        y, z = self.analysis(image, prompts, gain)
        # Where the transforms compute in bfloat16, the entropy path does not: it runs in whole numbers when deployed.
        y, z = y.float(), z.float()
        with torch.autocast(image.device.type, enabled=False):
            z_bits = _per_image(factorised_bits(self.entropy_bottleneck, z + noise(z)))
            mu_hyper, scale_hyper = self.hyper_synthesis(ste_round(z), prompts)
            y_int = torch.zeros_like(y)
            y_bits = y.new_zeros(len(y))
            for k, step in enumerate(self.context.schedule):
                index, mean = self.context.step(k, mu_hyper, scale_hyper, y_int)
                mean = ste_round(bound(mean, -MEAN_LIMIT, MEAN_LIMIT))
                residual = box(y[:, slice(*step.channels)], step.region) - mean / MEAN_STEPS
                coded = coded_positions(step.region, residual)
                bits = gaussian_bits(residual + noise(residual), index)
                y_bits = y_bits + _per_image(bits * coded)
                decoded = (ste_round(residual) * MEAN_STEPS + mean) * coded
                y_int = y_int + _embed(decoded, step, y_int)
        return TrainingOutput(self.synthesis(y_int, mu_hyper, prompts, gain), y_bits, z_bits)

    # Reference of the runtime ----------------------------------------------------------------------------------

    @torch.no_grad()
    def latents(self, image: Tensor, prompts: TaskPrompts | None = None, gain: Tensor | None = None) -> Latents:
        """What the encoder codes for one batch of padded images."""
        y, z = self.analysis(image, prompts, gain)
        z_hat = torch.round(z)
        mu_hyper, scale_hyper = self.hyper_synthesis(z_hat, prompts)
        y_int = torch.zeros_like(y)
        symbols = torch.zeros(y.shape, dtype=torch.int32, device=y.device)
        indices = torch.zeros(y.shape, dtype=torch.uint8, device=y.device)
        for k, step in enumerate(self.context.schedule):
            index, mean = self.context.step_integer(k, mu_hyper, scale_hyper, y_int)
            channels = slice(*step.channels)
            coded = coded_positions(step.region, index)
            residual = box(y[:, channels], step.region) - mean.to(y.dtype) / MEAN_STEPS
            q = torch.round(residual).clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)
            q = torch.where(coded & (index >= self.spec.skip_index), q, 0.0)
            box(symbols[:, channels], step.region)[..., coded] = q[..., coded].to(torch.int32)
            box(indices[:, channels], step.region)[..., coded] = index[..., coded]
            box(y_int[:, channels], step.region)[..., coded] = (q * MEAN_STEPS + mean)[..., coded]
        return Latents(z_hat.to(torch.int32), symbols, indices, y_int, mu_hyper)

    @torch.no_grad()
    def reconstruct(self, latents: Latents, prompts: TaskPrompts | None = None, gain: Tensor | None = None) -> Tensor:
        """ĥ [B, F, H/4, W/4] of latents that were coded with these gains."""
        return self.synthesis(latents.y_int, latents.mu_hyper, prompts, gain)


def _per_image(bits: Tensor) -> Tensor:
    """Bits of a batch's elements summed over each image, [B]."""
    return bits.flatten(1).sum(1)


def _embed(part: Tensor, step: Step, like: Tensor) -> Tensor:
    """Place a step's box in an otherwise zero [B, M, h, w] tensor (differentiable, out of place)."""
    whole = torch.zeros_like(like)
    box(whole[:, slice(*step.channels)], step.region).add_(part)
    return whole
