"""The model itself, run in torch on one photo: what every graph should have got and given.

Uses the model's own stages, not the modules that were exported, so that a mistake in the cut shows. Calibration takes
the inputs from here, verification the outputs too. What is coded comes from the model's float networks, or from the
integer graphs of the bundle that is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ptp_export.oracle.entropy_reference import (
    CodedLatents,
    EntropyReference,
    ModelEntropy,
    code_latents,
)
from ptp_export.oracle.graph_sample import GraphSample, array
from ptp_export.sizes import PAD_MULTIPLE, Size
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.teachers import Teacher


@dataclass(frozen=True)
class ReferenceRun:
    """One photo through the whole chain.

    Attributes:
        size: of the photo.
        graphs: graph name → its inputs (all that it could read) and outputs.
        coded: what was coded.
    """

    size: Size
    graphs: Mapping[str, GraphSample]
    coded: CodedLatents

    @property
    def z(self) -> NDArray[Any]:
        """Rounded hyper-latent, int32 [1, Z, h, w]."""
        return self.coded.z

    @property
    def symbols(self) -> NDArray[Any]:
        """Residual symbols, int32 [1, M, 4h, 4w]; 0 where not coded."""
        return self.coded.symbols

    @property
    def y_int(self) -> NDArray[Any]:
        """Decoded latents in sixteenths, float32 [1, M, 4h, 4w]."""
        return array(self.coded.y_int)


@dataclass(frozen=True)
class ReferenceChain:
    """A codec with one task's prompts and teacher, in evaluation mode.

    Attributes:
        codec: the universal codec.
        prompts: of the task; None for ``view``.
        teacher: of the task; None for ``view``, whose head is the codec's image extractor.
        integers: the entropy path of an integer bundle; None where the model's own float networks code.
    """

    codec: FeatureCodec
    prompts: TaskPrompts | None
    teacher: Teacher | None
    integers: EntropyReference | None = None

    @property
    def entropy(self) -> EntropyReference:
        """What the chain codes with."""
        return ModelEntropy(self.codec, self.prompts) if self.integers is None else self.integers

    def with_integers(self, integers: EntropyReference) -> ReferenceChain:
        """The same chain, coding with an integer path."""
        return replace(self, integers=integers)

    @torch.no_grad()
    def latents(self, image: NDArray[Any], gain: Tensor | None) -> tuple[Tensor, Tensor]:
        """y [R, M, 4h, 4w] and z [R, Z, h, w] of one photo, unrounded.

        Args:
            image: uint8 (or, after a resize, float32 in 0..255) [H, W, 3], RGB, at the size the codec is given.
            gain: of R rates, [R, M, 1, 1]; None: of a codec that has one.
        """
        return self.codec.analysis(_padded(image, self.codec.spec.lead_multiple), self.prompts, gain)

    def code(self, y: Tensor, z: Tensor) -> CodedLatents:
        """What is coded of one image's latents."""
        return code_latents(y, z, self.entropy, self.codec.context.schedule, self.codec.spec.skip_index)

    @torch.no_grad()
    def run(self, image: NDArray[Any], rate: int = 0) -> ReferenceRun:
        """Encode and decode one photo.

        Args:
            image: as for :meth:`latents`.
            rate: number of the rate, of a codec with several.
        """
        size = Size(*image.shape[:2])
        codec, gain = self.codec, self.codec.gain(rate)
        padded = _padded(image, codec.spec.lead_multiple)
        y, z = codec.analysis(padded, self.prompts, gain)
        coded = self.code(y, z)
        gains = {} if gain is None else {"gain": gain}
        h = codec.synthesis(coded.y_int, coded.mu_hyper, self.prompts, gain)
        rows, columns = size.feature
        cropped = h[:, :, :rows, :columns].contiguous()
        graphs = {
            "analysis": GraphSample.of({"image": padded} | gains, {"y": y, "z": z}),
            **coded.graphs,
            "synthesis": GraphSample.of({"y_int": coded.y_int, "mu_hyper": coded.mu_hyper} | gains, {"h": h}),
            "head": GraphSample.of({"h": cropped}, self.head(cropped)),
        }
        return ReferenceRun(size, graphs, coded)

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
