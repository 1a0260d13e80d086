"""``synthesis``: decoded latents → feature h, with LRCP, g_s and the task's p_gs inside."""

from __future__ import annotations

from torch import Tensor, nn

from ptp_export.graphs.interface import Graph, gain_input
from ptp_export.tensor_spec import TensorSpec
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts


class Synthesis(nn.Module):
    """``y_int`` (sixteenths) and ``mu_hyper`` [1, M, 4h, 4w] → ``h`` [1, F, 16h, 16w].

    A codec of several rates also takes ``gain`` [1, M, 1, 1], that of the rate that was coded.
    """

    def __init__(self, codec: FeatureCodec, prompts: TaskPrompts | None) -> None:
        super().__init__()
        self.codec, self.prompts = codec, prompts

    def forward(self, y_int: Tensor, mu_hyper: Tensor, gain: Tensor | None = None) -> Tensor:
        return self.codec.synthesis(y_int, mu_hyper, self.prompts, gain)


def synthesis_graph(codec: FeatureCodec, prompts: TaskPrompts | None) -> Graph:
    """The graph of the role ``synthesis``."""
    spec = codec.spec
    latent = (1, spec.M, "4*h", "4*w")
    return Graph(
        name="synthesis",
        role="synthesis",
        module=Synthesis(codec, prompts),
        inputs=(TensorSpec("y_int", "float32", latent), TensorSpec("mu_hyper", "float32", latent), *gain_input(spec)),
        outputs=(TensorSpec("h", "float32", (1, spec.F, "16*h", "16*w")),),
        prompts=("prompts.p_gs",) if prompts is not None else (),
    )
