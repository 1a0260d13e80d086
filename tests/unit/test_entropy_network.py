"""The float network that the integer conversion takes is the one that the model runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptp_calibration.integer_path import EntropyNetwork, Layer, Source
from ptp_export.entropy.network_from_model import network_from_model
from ptp_model.codec import FeatureCodec
from ptp_model.context.schedule import CONTEXT_LIMIT, QUADRANTS, box, coded_positions
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import CheckerboardSpec, ModelSpec, SwinSpec, ZigzagSpec, preset

SMALL = dataclasses.replace(
    preset("tiny"),
    N=8,
    early_width=8,
    M=12,
    Z=6,
    hyper_analysis=((8, 1), (8, 2), (8, 1), (6, 2)),
    hyper_synthesis=(7, 8, 9, 10),
    prompt_width=5,
    swin=SwinSpec((4, 4, 8, 12), (1, 1, 1, 1), (1, 1, 2, 2), (1, 1, 1)),
    checkerboard=CheckerboardSpec((2, 4, 6), (7, 5), (12, 9)),
    zigzag=ZigzagSpec(3, 4, (9, 8, 7, 6)),
)


def _spec(context: str) -> ModelSpec:
    return dataclasses.replace(SMALL, context=context)


def _codec(context: str) -> FeatureCodec:
    torch.manual_seed(5)
    return FeatureCodec(_spec(context)).eval()


def _prompts(spec: ModelSpec) -> TaskPrompts:
    prompts = TaskPrompts(spec).eval()
    with torch.no_grad():
        for parameter in prompts.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return prompts


def _read(source: Source, tensors: Mapping[str, Tensor]) -> Tensor:
    value = tensors[source.tensor]
    if source.tensor == "y_int":
        value = value.clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT)
    if source.channels is not None:
        value = value[:, slice(*source.channels)]
    if source.box == "quadrants":
        return torch.cat([box(value, quadrant) for quadrant in QUADRANTS], 1)
    return box(value, source.box)


def _run(layers: tuple[Layer, ...], tensors: dict[str, Tensor]) -> None:
    """The layers' tensors by name, added to ``tensors``."""
    for layer in layers:
        weight = torch.from_numpy(layer.weight)
        read = torch.cat([_read(source, tensors) for source in layer.inputs], 1)
        value = functional.conv2d(read, weight, torch.from_numpy(layer.bias), padding=weight.shape[-1] // 2)
        value = value.relu() if layer.relu else value
        tensors[layer.name] = functional.pixel_shuffle(value, 2) if layer.shuffle else value


def _latents() -> tuple[Tensor, Tensor]:
    """z, and y as decoded: integers in sixteenths, beyond what a context reads."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randint(-4, 5, (1, SMALL.Z, 2, 3), generator=generator).float()
    y = torch.randint(-1500, 1501, (1, SMALL.M, 8, 12), generator=generator).float()
    return z, y


@pytest.mark.parametrize("context", ["checkerboard", "zigzag"])
@pytest.mark.parametrize("with_prompts", [False, True])
@torch.no_grad()
def test_the_network_computes_what_the_codec_computes(context: str, with_prompts: bool) -> None:
    codec = _codec(context)
    prompts = _prompts(codec.spec) if with_prompts else None
    network = network_from_model(codec, prompts)
    z, y = _latents()
    tensors = {"z_hat": z}
    _run(network.hyper, tensors)
    mu, scale = codec.hyper_synthesis(z, prompts)
    torch.testing.assert_close(tensors["mu_hyper"], mu, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tensors["scale_hyper"], scale, rtol=1e-4, atol=1e-5)
    tensors |= {"mu_hyper": mu, "scale_hyper": scale}
    for k, step in enumerate(network.steps):
        # What is decoded later is 0 for the model; the networks must not read it at all.
        decoded = _decoded_before(codec, k, y)
        tensors["y_int"] = decoded
        _run(step.layers, tensors)
        expected_index, expected_mean = codec.context.step(k, mu, scale, decoded)
        torch.testing.assert_close(_read(step.index, tensors), expected_index, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(_read(step.mean, tensors), expected_mean, rtol=1e-4, atol=1e-3)
        assert (step.name, step.channels, step.region) == dataclasses.astuple(codec.context.schedule[k])


def _decoded_before(codec: FeatureCodec, k: int, y: Tensor) -> Tensor:
    decoded = torch.zeros_like(y)
    for step in codec.context.schedule[:k]:
        part = box(decoded[:, slice(*step.channels)], step.region)
        coded = coded_positions(step.region, part)
        part[..., coded] = box(y[:, slice(*step.channels)], step.region)[..., coded]
    return decoded


def test_names_and_sharing_are_the_documented_ones() -> None:
    codec = _codec("checkerboard")
    network = network_from_model(codec, _prompts(codec.spec))
    names = [layer.name for layer in network.hyper]
    assert {"hyper/mu/0", "hyper/mu_prompt/2", "hyper/scale/3", "mu_hyper", "scale_hyper"} <= set(names)
    assert [layer.name for layer in network.steps[3].layers] == [
        "step_03/local_context",
        *(f"step_03/aggregate/{k}" for k in range(3)),
    ]
    shared = network.shared_layers()
    assert {name: layers for name, layers in shared.items() if layers} == {
        "step_02": ("step_02/channel_context/2",),
        "step_04": ("step_04/channel_context/2",),
    }


def test_the_masked_half_of_a_local_context_is_zero() -> None:
    network: EntropyNetwork = network_from_model(_codec("checkerboard"), None)
    (local,) = [layer for layer in network.steps[1].layers if layer.name.endswith("local_context")]
    offsets = torch.arange(5)
    own_colour = ((offsets[:, None] + offsets[None]) % 2 == 0).numpy()
    assert not local.weight[..., own_colour].any()
    assert local.weight[..., ~own_colour].all()


def test_a_layer_that_is_no_plain_convolution_is_named() -> None:
    codec = _codec("checkerboard")
    codec.h_mu[1] = nn.GELU()
    with pytest.raises(ValueError, match=r"hyper/mu has a layer.*GELU"):
        network_from_model(codec, None)
    codec = _codec("checkerboard")
    codec.h_mu[0] = nn.Conv2d(SMALL.Z, 7, 3, stride=2, padding=1)
    with pytest.raises(ValueError, match="hyper/mu/0 is not one that keeps the size"):
        network_from_model(codec, None)
