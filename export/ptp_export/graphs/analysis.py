"""``analysis``: photo → y and z, with the task's p_ga and p_ha inside."""

from __future__ import annotations

from torch import Tensor, nn

from ptp_export.graphs.interface import Graph, gain_input
from ptp_export.tensor_spec import TensorSpec
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts


class Analysis(nn.Module):
    """``image`` [1, 3, 64h, 64w] RGB in 0..1 → ``y`` [1, M, 4h, 4w], ``z`` [1, Z, h, w], unrounded.

    A codec of several rates also takes ``gain`` [1, M, 1, 1], that of the rate to be coded.
    """

    def __init__(self, codec: FeatureCodec, prompts: TaskPrompts | None) -> None:
        super().__init__()
        self.codec, self.prompts = codec, prompts

    def forward(self, image: Tensor, gain: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.codec.analysis(image, self.prompts, gain)


def analysis_graph(codec: FeatureCodec, prompts: TaskPrompts | None) -> Graph:
    """The graph of the role ``analysis``."""
    spec = codec.spec
    return Graph(
        name="analysis",
        role="analysis",
        module=Analysis(codec, prompts),
        inputs=(TensorSpec("image", "float32", (1, 3, "64*h", "64*w")), *gain_input(spec)),
        outputs=(
            TensorSpec("y", "float32", (1, spec.M, "4*h", "4*w")),
            TensorSpec("z", "float32", (1, spec.Z, "h", "w")),
        ),
        prompts=("prompts.p_ga", "prompts.p_ha") if prompts is not None else (),
    )
