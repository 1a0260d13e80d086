"""Where the training of fresh networks starts: figures measured on crops that no step draws."""

from __future__ import annotations

from types import MappingProxyType
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ptp_model.codec import FeatureCodec
from ptp_model.teachers import Teacher
from ptp_model.training.crops import PhotoCrops
from ptp_model.transforms.principal_components import start_from_principal_components

#: A factorised prior starts some ten times too wide for what it describes; at the common rate of learning, its latent
#: would be given up first.
PRIOR_PACE = MappingProxyType({"entropy_bottleneck.": 10.0})


class Standardised(Protocol):
    """A network that works on (h - mean) / std of a teacher's feature; both [1, F, 1, 1]."""

    feature_mean: Tensor
    feature_std: Tensor


def spare_crops(crops: PhotoCrops, batches: int, device: torch.device) -> list[Tensor]:
    """Crops that no step of a training draws: so many batches of [4, 3, S, S], RGB in 0..1."""
    return [crops.batch(-1 - i & 0xFFFFFF, 4).to(device) for i in range(batches)]


@torch.no_grad()
def measure_feature(network: Standardised, teacher: Teacher, crops: PhotoCrops, batches: int = 16) -> None:
    """Set the network's statistics of the feature, per channel, from the teacher's features on crops."""
    features = _features(network, teacher, crops, batches)
    network.feature_mean.copy_(features.mean((0, 2, 3), keepdim=True))
    network.feature_std.copy_(features.std((0, 2, 3), keepdim=True).clamp_min(1e-3))


@torch.no_grad()
def start_stem_transform(codec: FeatureCodec, teacher: Teacher, crops: PhotoCrops, batches: int = 32) -> None:
    """Start a fresh codec of the kind ``stem`` at the principal components of h; ``feature_mean`` must be measured."""
    features = _features(codec, teacher, crops, batches)
    transforms = cast(nn.Sequential, codec.g_a), cast(nn.Sequential, codec.g_s)
    start_from_principal_components(*transforms, (features - codec.feature_mean) / codec.feature_std)


@torch.no_grad()
def wake_hyper_latent(codec: FeatureCodec, crops: PhotoCrops) -> None:
    """Scale the last layer of a fresh h_a so that every channel of z has mean 0 and a standard deviation of 1.

    With torch's own start z lies within ±0.1: it is rounded to 0 wherever it is used, and the rate takes it back to 0
    before the decoder's side has learned to read it.
    """
    image = torch.cat(spare_crops(crops, 8, codec.feature_mean.device))
    gain = None if codec.gains is None else codec.gain(codec.spec.rates // 2)
    standardise_output(cast(nn.Conv2d, codec.h_a[-1]), codec.analysis(image, None, gain)[1])


@torch.no_grad()
def silence_residual_prediction(codec: FeatureCodec) -> None:
    """Let a fresh LRCP correct nothing: what random weights add is noise of the size of the rounding itself."""
    nn.init.zeros_(codec.lrcp.out.weight)
    nn.init.zeros_(cast(Tensor, codec.lrcp.out.bias))


@torch.no_grad()
def standardise_output(layer: nn.Conv2d, output: Tensor) -> None:
    """Rescale a convolution so that what it gave here, [B, C, H, W], would have had a deviation of 1 in every channel.

    Where it has a bias, the mean becomes 0 too.
    """
    std = output.std((0, 2, 3)).clamp_min(1e-6)
    layer.weight.div_(std[:, None, None, None])
    if layer.bias is not None:
        layer.bias.copy_((layer.bias - output.mean((0, 2, 3))) / std)


def _features(network: Standardised, teacher: Teacher, crops: PhotoCrops, batches: int) -> Tensor:
    return torch.cat([teacher.stem(image) for image in spare_crops(crops, batches, network.feature_mean.device)])
