"""The two halves of a teacher, and how the part of it that we trained is stored."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from ptp_model.teachers.spec import TeacherSpec
from ptp_model.teachers.weights import is_counter, load_strictly

RawOutput = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class Normalise(nn.Module):
    """(x - mean) / std per channel, as one subtraction and one multiplication.

    Neither may be folded into the first convolution together with its zero padding: a padded zero has to mean "the mean
    colour", which is what the backbones were trained with.
    """

    mean: torch.Tensor
    inverse_std: torch.Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("inverse_std", (1.0 / torch.tensor(std)).view(1, -1, 1, 1), persistent=False)

    def forward(self, image01: torch.Tensor) -> torch.Tensor:
        return (image01 - self.mean) * self.inverse_std


class Teacher(nn.Module):
    """A pretrained task network cut behind its second stage.

    ``stem`` is what the codec replaces, ``tail`` is what a device still runs. ``tail(stem(x))`` is the whole network.
    Teachers are born in evaluation mode with every parameter frozen; the training of a head thaws ``head`` alone.
    """

    spec: TeacherSpec

    def __init__(self, spec: TeacherSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalise = Normalise(spec.mean, spec.std)

    def stem(self, image01: torch.Tensor) -> torch.Tensor:
        """RGB in 0..1, float [N, 3, H, W], to the feature h [N, F, ceil(H/4), ceil(W/4)]."""
        raise NotImplementedError

    def stem_layers(self) -> nn.Sequential:
        """What lies between the normalised image and h, for a codec that begins with it."""
        raise NotImplementedError

    def deeper(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The feature h to those of the backbone's next three stages, which a loss may compare; differentiable."""
        raise NotImplementedError

    def tail(self, h: torch.Tensor) -> RawOutput:
        """The feature h to the head's raw outputs.

        Segmentation: ``logits`` [N, C, ceil(H/s), ceil(W/s)]. Detection: (``cls_logits`` [N, A, K], ``box_deltas``
        [N, A, 4]). Classification: ``logits`` [N, C]. See ``spec.output`` for their meaning.
        """
        raise NotImplementedError

    def forward(self, image01: torch.Tensor) -> RawOutput:
        return self.tail(self.stem(image01))

    def shipped(self) -> nn.Module:
        """The part whose weights a checkpoint has to carry because no installed package does."""
        raise NotImplementedError

    def freeze(self) -> None:
        self.eval()
        self.requires_grad_(False)

    def head_state(self) -> dict[str, torch.Tensor]:
        """The shipped part's weights: float16 for weight tensors, float32 for biases and batch statistics.

        Vectors stay in float32 because they are under one per cent of the bytes and a running variance can underflow.
        Counters of batches, which no evaluation reads, are left out.
        """
        state = self.shipped().state_dict()
        return {
            name: value.detach().to(torch.float16 if value.dim() > 1 else torch.float32).contiguous().cpu()
            for name, value in state.items()
            if not is_counter(name)
        }

    def load_head_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """The inverse of :meth:`head_state`, up to its rounding to float16.

        Raises:
            WeightsError: a tensor is missing, unknown, of another shape, or not finite.
        """
        load_strictly(f"{self.spec.name} {self.spec.task} head", self.shipped(), state, counters=False)
        self.freeze()


def upsample_logits(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Segmentation logits [N, C, h, w] to the image's size (H, W): bilinear, ``align_corners=False``.

    Used by losses and figures; a device does the same outside the head's graph.
    """
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
