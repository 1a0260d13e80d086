"""The codec's stages: shapes at odd sizes, silent prompts, causality of the context, decoder = encoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ptp_model.codec import FeatureCodec, Latents
from ptp_model.context.schedule import box, coded_positions
from ptp_model.layers.attention import from_windows, to_windows
from ptp_model.prompts import TaskPrompts
from ptp_model.quantization import MEAN_STEPS
from ptp_model.spec import preset

KINDS = [("cnn", "checkerboard"), ("cnn", "zigzag"), ("swin", "checkerboard"), ("stem", "checkerboard")]


def codec(transform: str = "cnn", context: str = "checkerboard") -> FeatureCodec:
    torch.manual_seed(3)
    return FeatureCodec(preset("tiny", transform=transform, context=context)).eval()


@pytest.mark.parametrize(("transform", "context"), KINDS)
@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 192)])
def test_shapes(transform: str, context: str, size: tuple[int, int]) -> None:
    model = codec(transform, context)
    spec, (height, width) = model.spec, size
    latents = model.latents(torch.rand(1, 3, height, width))
    assert latents.z.shape == (1, spec.Z, height // 64, width // 64)
    for part in (latents.symbols, latents.indices, latents.y_int, latents.mu_hyper):
        assert part.shape == (1, spec.M, height // 16, width // 16)
    feature = model.reconstruct(latents)
    assert feature.shape == (1, spec.F, height // 4, width // 4)
    assert model.extractor(feature).shape == (1, 3, height, width)


@pytest.mark.parametrize("size", [(1, 1), (17, 5), (75, 113)])
def test_extractor_takes_cropped_features(size: tuple[int, int]) -> None:
    image = codec().extractor(torch.randn(1, 24, *size))
    assert image.shape == (1, 3, 4 * size[0], 4 * size[1])


@pytest.mark.parametrize(("transform", "context"), KINDS)
def test_zero_prompt_changes_nothing(transform: str, context: str) -> None:
    model = codec(transform, context)
    image = torch.rand(1, 3, 128, 64)
    plain, prompted = model.latents(image), model.latents(image, TaskPrompts(model.spec).eval())
    for name in Latents.__dataclass_fields__:
        assert torch.equal(getattr(plain, name), getattr(prompted, name)), name
    assert torch.equal(model.reconstruct(plain), model.reconstruct(plain, TaskPrompts(model.spec)))


def test_every_prompt_parameter_reaches_the_output_once_trained() -> None:
    model = codec()
    prompts = TaskPrompts(model.spec)
    torch.manual_seed(5)
    for p in prompts.parameters():
        torch.nn.init.normal_(p, std=0.2)
    out = model(100 * torch.rand(2, 3, 64, 64), prompts)
    (out.feature.square().sum() + (out.y_bits + out.z_bits).sum()).backward()
    silent = [name for name, p in prompts.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_fresh_prompt_can_start_to_train() -> None:
    model = codec()
    prompts = TaskPrompts(model.spec)
    out = model(torch.rand(1, 3, 64, 64), prompts)
    (out.feature.square().sum() + (out.y_bits + out.z_bits).sum()).backward()
    for part in ("p_ga", "p_ha", "p_hmu", "p_hsigma", "p_gs"):
        last = prompts.get_submodule(part)[-1]
        assert last.weight.grad.abs().sum() > 0, part


def test_gains_scale_what_is_coded_and_are_taken_back() -> None:
    torch.manual_seed(0)
    model = FeatureCodec(preset("tiny", rates=3)).eval()
    image = torch.rand(1, 3, 64, 64)
    y, _ = model.analysis(image)
    for rate in range(3):
        gain = model.gain(rate)
        assert gain is not None
        assert gain.shape == (1, model.spec.M, 1, 1)
        scaled, _ = model.analysis(image, gain=gain)
        assert torch.allclose(scaled, y * gain)
        decoded = model.latents(image, gain=gain)
        coarse = model.lrcp(decoded.y_int / 16, decoded.mu_hyper) / gain
        assert torch.allclose(model.reconstruct(decoded, gain=gain), model.g_s(coarse), atol=1e-5)
    lowest, highest = model.gain(0), model.gain(2)
    assert lowest is not None
    assert highest is not None
    assert bool((lowest < highest).all())
    assert FeatureCodec(preset("tiny")).gain(0) is None


def test_each_image_of_a_batch_has_its_own_rate() -> None:
    torch.manual_seed(0)
    model = FeatureCodec(preset("tiny", rates=2)).eval()
    image = 4 * torch.rand(1, 3, 64, 64).expand(2, -1, -1, -1)
    out = model(image, rate=torch.tensor([0, 1]))
    again = model(image[:1], rate=torch.tensor([1]))
    assert out.y_bits.shape == out.z_bits.shape == (2,)
    assert torch.allclose(out.feature[1], again.feature[0], atol=1e-4)
    assert not torch.allclose(out.feature[0], out.feature[1], atol=1e-4)


@pytest.mark.parametrize("context", ["checkerboard", "zigzag"])
def test_decoder_rebuilds_the_encoders_latents(context: str) -> None:
    """From symbols alone, with whatever is not decoded yet replaced by rubbish the step must not look at."""
    model = codec(context=context)
    with torch.no_grad():
        encoded = model.latents(4 * torch.rand(1, 3, 128, 192))
        mu, scale = model.hyper_synthesis(encoded.z.float())
        y_int = torch.zeros_like(encoded.y_int)
        seen = torch.zeros_like(encoded.y_int, dtype=torch.bool)
        for k, step in enumerate(model.context.schedule):
            index, mean = model.context.step_integer(k, mu, scale, y_int)
            channels = slice(*step.channels)
            coded = coded_positions(step.region, index)
            assert torch.equal(box(encoded.indices[:, channels], step.region)[..., coded], index[..., coded])
            symbols = box(encoded.symbols[:, channels], step.region)
            value = (symbols * MEAN_STEPS + mean).float()
            box(y_int[:, channels], step.region)[..., coded] = value[..., coded]
            mask = box(seen[:, channels], step.region)
            assert not mask[..., coded].any()
            mask[..., coded] = True
    assert seen.all()
    assert torch.equal(y_int, encoded.y_int)


@pytest.mark.parametrize("context", ["checkerboard", "zigzag"])
def test_a_step_never_sees_what_comes_later(context: str) -> None:
    model = codec(context=context).context
    torch.manual_seed(1)
    shape = (1, 48, 8, 12)
    mu, scale, y = torch.randn(shape), torch.randn(shape), (50 * torch.randn(shape)).round()
    decoded = torch.zeros(shape, dtype=torch.bool)
    influenced = 0
    for k, step in enumerate(model.schedule):
        with torch.no_grad():
            rubbish = torch.where(decoded, y, 333.0)
            changed = torch.where(decoded, y + 100, 0.0)
            base = _coded(model.step(k, mu, scale, torch.where(decoded, y, 0.0)), step.region)
            assert torch.equal(base, _coded(model.step(k, mu, scale, rubbish), step.region))
            influenced += not torch.equal(base, _coded(model.step(k, mu, scale, changed), step.region))
        target = box(decoded[:, slice(*step.channels)], step.region)
        target[..., coded_positions(step.region, target)] = True
    assert influenced == len(model.schedule) - 1, "every step but the first must use what was decoded"


def _coded(parameters: tuple[Tensor, Tensor], region: str) -> Tensor:
    both = torch.cat(parameters, 1)
    return both[..., coded_positions(region, both)]


def test_windows_round_trip() -> None:
    x = torch.randn(2, 8, 12, 5)
    assert torch.equal(from_windows(to_windows(x, 4), 4, 2, 8, 12), x)
    assert torch.equal(to_windows(x, 4)[1], x[0, :4, 4:8].reshape(16, 5)), "the second window is right of the first"


def test_estimated_bits_match_the_integer_symbols() -> None:
    """The differentiable rate and the entropy of the coded symbols agree, away from the noise of one draw."""
    from ptp_model.rate import factorised_bits, gaussian_bits

    model = codec()
    with torch.no_grad():
        index = torch.full((4000,), 30.0)
        sigma = 0.11 * (256 / 0.11) ** (30 / 63)
        torch.manual_seed(0)
        values = torch.randn(4000) * sigma
        bits = gaussian_bits(values.round(), index).mean()
        ideal = torch.log2(torch.tensor(sigma * (2 * torch.pi * torch.e) ** 0.5))
        assert bits == pytest.approx(float(ideal), rel=0.03)
        pmf = model.z_pmf(100)
        z = torch.randint(-3, 4, (1, model.spec.Z, 4, 4))
        direct = -torch.log2(pmf[torch.arange(model.spec.Z)[:, None, None], z[0] + 100])
        torch.testing.assert_close(
            factorised_bits(model.entropy_bottleneck, z.float())[0].double(), direct, rtol=1e-3, atol=1e-3
        )
        assert torch.allclose(model.z_pmf(2000).sum(1), torch.ones(model.spec.Z, dtype=torch.float64), atol=1e-3)


def test_a_latent_unlike_any_photograph_stays_finite() -> None:
    model = codec()
    with torch.no_grad():
        for p in model.g_a.parameters():
            p.mul_(3)
        y, _ = model.analysis(1e6 * torch.ones(1, 3, 64, 64))
        assert y.abs().max() <= 64
        far = torch.full((1, model.spec.M, 4, 4), 1e9)
        h = model.synthesis(far, far)
    assert torch.isfinite(h).all()
    assert ((h - model.feature_mean) / model.feature_std).abs().max() <= 20.001
