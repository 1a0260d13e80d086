"""The entropy path of a codec as a list of float convolutions: what the integer conversion takes.

A task's hyper prompts run beside h_μ and h_σ and are added to them. Both sums are the last convolution of one network
that reads both branches: its weights are those of the two last layers side by side, its bias their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ptp_calibration.integer_path import EntropyNetwork, Layer, Source, StepNetwork
from ptp_model.codec import FeatureCodec
from ptp_model.context.checkerboard import CheckerboardContext, CheckerboardConv
from ptp_model.context.schedule import INDEX_GAIN, INDEX_START, MEAN_GAIN
from ptp_model.context.zigzag import ZigzagContext
from ptp_model.prompts import TaskPrompts
from ptp_model.quantization import MEAN_STEPS

_PROMPT = "_prompt"
MU, SCALE, LATENT = "mu_hyper", "scale_hyper", "y_int"
#: The networks read decoded latents in units of y; what is there is in sixteenths.
_LATENT_UNIT = 1 / MEAN_STEPS


def network_from_model(codec: FeatureCodec, prompts: TaskPrompts | None) -> EntropyNetwork:
    """Read the hyper-synthesis, with a task's prompts inside, and every step of the context model.

    Args:
        codec: in either context mode; not changed, and nothing of it is kept.
        prompts: the task's, or None.

    Raises:
        ValueError: a layer that is no plain convolution of stride 1 followed by nothing but ReLU and pixel shuffle.
    """
    context = codec.context
    if isinstance(context, CheckerboardContext):
        steps = tuple(_checkerboard_step(context, k) for k in range(len(context.schedule)))
    elif isinstance(context, ZigzagContext):
        steps = tuple(_zigzag_step(context, k) for k in range(len(context.schedule)))
    else:
        raise ValueError(f"no way to read the context model {type(context).__name__}")
    return EntropyNetwork(
        hyper_channels=codec.spec.Z,
        latent_channels=codec.spec.M,
        skip_index=codec.spec.skip_index,
        hyper=(
            *_hyper(MU, "hyper/mu", codec.h_mu, None if prompts is None else prompts.p_hmu),
            *_hyper(SCALE, "hyper/scale", codec.h_sigma, None if prompts is None else prompts.p_hsigma),
        ),
        steps=steps,
    )


def own_layers(network: EntropyNetwork) -> tuple[str, ...]:
    """Names of the layers that are a task's: its hyper prompts, and the two that add them."""
    return tuple(layer.name for layer in network.hyper if _PROMPT in layer.name or layer.name in (MU, SCALE))


def _hyper(output: str, name: str, trunk: nn.Sequential, prompt: nn.Sequential | None) -> list[Layer]:
    """One of the two hyper networks; its last layer is called as what it gives."""
    entrance = (Source("z_hat"),)
    *layers, last = _chain(name, trunk, entrance)
    if prompt is None:
        return [*layers, replace(last, name=output)]
    *beside, addend = _chain(f"{name}{_PROMPT}", prompt, entrance)
    both = Layer(
        name=output,
        inputs=(*last.inputs, *addend.inputs),
        weight=np.concatenate([last.weight, addend.weight], 1),
        bias=last.bias + addend.bias,
        relu=False,
        shuffle=False,
    )
    return [*layers, *beside, both]


def _checkerboard_step(context: CheckerboardContext, k: int) -> StepNetwork:
    """A group's channel context is computed in its first step and read again in its second."""
    group, second = divmod(k, 2)
    step = context.schedule[k]
    start, stop = step.channels
    layers: list[Layer] = []
    support = [Source(MU), Source(SCALE)]
    if start:
        owner = context.schedule[k - second].name
        network = context.channel_context[group]
        chain = _chain(f"{owner}/channel_context", network, (Source(LATENT, (0, start)),), _LATENT_UNIT)
        layers += [] if second else chain
        support.append(Source(chain[-1].name))
    if second:
        local = context.local_context[group]
        layers.append(_layer(f"{step.name}/local_context", local, (Source(LATENT, (start, stop)),), _LATENT_UNIT))
        support.append(Source(layers[-1].name))
    network = context.nonanchor[group] if second else context.anchor[group]
    *inner, last = _chain(f"{step.name}/aggregate", network, tuple(support))
    size = stop - start
    layers += [*inner, _in_units(last, mean=slice(0, size), index=slice(size, 2 * size))]
    mean, index = Source(last.name, (0, size)), Source(last.name, (size, 2 * size))
    return StepNetwork(step.name, step.channels, step.region, tuple(layers), mean, index)


def _zigzag_step(context: ZigzagContext, k: int) -> StepNetwork:
    """Two networks side by side, one for the mean and one for the index."""
    step = context.schedule[k]
    window = context.schedule[max(0, k - context.window) : k]
    decoded = tuple(Source(LATENT, earlier.channels, earlier.region) for earlier in window)
    ends = []
    layers: list[Layer] = []
    for part, hyper, network in (("mean", MU, context.mean[k]), ("scale", SCALE, context.scale[k])):
        entrance = (Source(hyper, None, "quadrants"), *decoded)
        chain = _chain(f"{step.name}/{part}", network, entrance)
        weight = chain[0].weight.copy()
        channels = sum(stop - start for start, stop in (earlier.channels for earlier in window))
        weight[:, weight.shape[1] - channels :] *= _LATENT_UNIT
        chain[0] = replace(chain[0], weight=weight)
        whole = slice(0, chain[-1].weight.shape[0])
        chain[-1] = _in_units(chain[-1], **{"mean" if part == "mean" else "index": whole})
        ends.append(chain[-1].name)
        layers += chain
    return StepNetwork(step.name, step.channels, step.region, tuple(layers), Source(ends[0]), Source(ends[1]))


def _chain(name: str, network: nn.Module, inputs: tuple[Source, ...], unit: float = 1.0) -> list[Layer]:
    """The convolutions of a sequence, each reading the one before; ``unit`` scales what the first reads."""
    layers: list[Layer] = []
    for module in _flattened(network):
        if isinstance(module, nn.Conv2d):
            layers.append(_layer(f"{name}/{len(layers)}", module, inputs, 1.0 if layers else unit))
            inputs = (Source(layers[-1].name),)
        elif isinstance(module, nn.ReLU) and layers and not layers[-1].relu:
            layers[-1] = replace(layers[-1], relu=True)
        elif isinstance(module, nn.PixelShuffle) and module.upscale_factor == 2 and layers and not layers[-1].shuffle:
            layers[-1] = replace(layers[-1], shuffle=True)
        else:
            raise ValueError(f"the network {name} has a layer that no integer path knows: {module}")
    return layers


def _flattened(network: nn.Module) -> Sequence[nn.Module]:
    if not isinstance(network, nn.Sequential):
        return [network]
    return [module for child in network for module in _flattened(child)]


def _layer(name: str, module: nn.Module, inputs: tuple[Source, ...], unit: float = 1.0) -> Layer:
    if not isinstance(module, nn.Conv2d):
        raise ValueError(f"{name} is no convolution: {module}")
    side = module.kernel_size[0]
    same = module.kernel_size == (side, side) and side % 2 and module.padding == (side // 2, side // 2)
    if not same or module.stride != (1, 1) or module.dilation != (1, 1) or module.groups != 1 or module.bias is None:
        raise ValueError(f"the convolution {name} is not one that keeps the size: {module}")
    weight = module.weight * module.mask if isinstance(module, CheckerboardConv) else module.weight
    return Layer(name, inputs, _array(weight) * np.float32(unit), _array(module.bias), relu=False, shuffle=False)


def _in_units(layer: Layer, mean: slice = slice(0), index: slice = slice(0)) -> Layer:
    """The last layer of a network with its outputs in sixteenths (means) and in table steps (indices)."""
    weight, bias = layer.weight.copy(), layer.bias.copy()
    for channels, gain, start in ((mean, MEAN_GAIN, 0.0), (index, INDEX_GAIN, INDEX_START)):
        weight[channels] *= np.float32(gain)
        bias[channels] = bias[channels] * np.float32(gain) + np.float32(start)
    return replace(layer, weight=weight, bias=bias)


def _array(value: Any) -> NDArray[np.float32]:
    array: NDArray[np.float32] = value.detach().cpu().numpy().astype(np.float32)
    return array
