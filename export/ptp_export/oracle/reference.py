"""The model itself, run in torch on one photo: what every graph should have got and given.

Uses the model's own stages, not the modules that were exported, so that a mistake in the cut shows. Calibration takes
the inputs from here, verification the outputs too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ptp_export.sizes import PAD_MULTIPLE, Size
from ptp_model.codec import SYMBOL_LIMIT, FeatureCodec
from ptp_model.context.schedule import box, coded_positions
from ptp_model.prompts import TaskPrompts
from ptp_model.quantization import MEAN_STEPS
from ptp_model.teachers import Teacher

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class GraphSample:
    """Inputs and outputs of one graph, by tensor name, in the graph's dtypes."""

    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class ReferenceRun:
    """One photo through the whole chain.

    Attributes:
        size: of the photo.
        graphs: graph name → its inputs (all that it could read) and outputs.
        z: rounded hyper-latent, int32 [1, Z, h, w].
        symbols: residual symbols, int32 [1, M, 4h, 4w]; 0 where not coded.
        y_int: decoded latents in sixteenths, float32 [1, M, 4h, 4w].
    """

    size: Size
    graphs: Mapping[str, GraphSample]
    z: NDArray[Any]
    symbols: NDArray[Any]
    y_int: NDArray[Any]


@dataclass(frozen=True)
class ReferenceChain:
    """A codec with one task's prompts and teacher, in evaluation mode.

    Attributes:
        codec: the universal codec.
        prompts: of the task; None for ``view``.
        teacher: of the task; None for ``view``, whose head is the codec's image extractor.
    """

    codec: FeatureCodec
    prompts: TaskPrompts | None
    teacher: Teacher | None

    @torch.no_grad()
    def run(self, image: NDArray[Any], rate: int = 0) -> ReferenceRun:
        """Encode and decode one photo.

        Args:
            image: uint8 (or, after a resize, float32 in 0..255) [H, W, 3], RGB, at the size the codec is given.
            rate: number of the rate, of a codec with several.
        """
        size = Size(*image.shape[:2])
        codec, gain = self.codec, self.codec.gain(rate)
        padded = _padded(image, codec.spec.lead_multiple)
        y, z = codec.analysis(padded, self.prompts, gain)
        z_hat = torch.round(z)
        mu_hyper, scale_hyper = codec.hyper_synthesis(z_hat, self.prompts)
        gains = {} if gain is None else {"gain": gain}
        graphs = {
            "analysis": _sample({"image": padded} | gains, {"y": y, "z": z}),
            "hyper": _sample({"z_hat": z_hat}, {"mu_hyper": mu_hyper, "scale_hyper": scale_hyper}),
        }
        y_int, symbols = torch.zeros_like(y), torch.zeros(y.shape, dtype=torch.int32)
        for k, step in enumerate(codec.context.schedule):
            index, mean = codec.context.step_integer(k, mu_hyper, scale_hyper, y_int)
            graphs[step.name] = _sample(
                {"mu_hyper": mu_hyper, "scale_hyper": scale_hyper, "y_int": y_int}, {"index": index, "mean": mean}
            )
            channels = slice(*step.channels)
            coded = coded_positions(step.region, index)
            residual = box(y[:, channels], step.region) - mean.to(y.dtype) / MEAN_STEPS
            q = torch.round(residual).clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)
            q = torch.where(coded & (index >= codec.spec.skip_index), q, 0.0)
            box(symbols[:, channels], step.region)[..., coded] = q[..., coded].to(torch.int32)
            box(y_int[:, channels], step.region)[..., coded] = (q * MEAN_STEPS + mean)[..., coded]
        h = codec.synthesis(y_int, mu_hyper, self.prompts, gain)
        graphs["synthesis"] = _sample({"y_int": y_int, "mu_hyper": mu_hyper} | gains, {"h": h})
        rows, columns = size.feature
        cropped = h[:, :, :rows, :columns].contiguous()
        graphs["head"] = _sample({"h": cropped}, self.head(cropped))
        return ReferenceRun(size, graphs, _array(z_hat.to(torch.int32)), _array(symbols), _array(y_int))

    @torch.no_grad()
    def head(self, h: Tensor) -> dict[str, Tensor]:
        """The raw outputs of the task for a cropped feature, by name."""
        if self.teacher is None:
            return {"image": self.codec.extractor(h)}
        raw = self.teacher.tail(h)
        if isinstance(raw, tuple):
            return {"cls_logits": raw[0], "box_deltas": raw[1]}
        return {"logits": raw}


def _padded(image: NDArray[Any], lead_multiple: int) -> Tensor:
    """[H, W, 3] in 0..255 → float32 [1, 3, Hp, Wp] in 0..1, the border pixel repeated: first before, then behind."""
    height, width = image.shape[:2]
    top, left = -height % lead_multiple, -width % lead_multiple
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    behind = (-(left + width) % PAD_MULTIPLE, -(top + height) % PAD_MULTIPLE)
    return functional.pad(x, (left, behind[0], top, behind[1]), mode="replicate")


def _sample(inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> GraphSample:
    return GraphSample(
        {name: _array(value) for name, value in inputs.items()},
        {name: _array(value) for name, value in outputs.items()},
    )


def _array(value: Tensor) -> NDArray[np.generic]:
    """A copy: the chain goes on writing into its latents."""
    array: NDArray[np.generic] = value.detach().cpu().numpy().copy()
    return array
