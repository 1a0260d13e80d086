"""``hyper`` (entropy path): decoded hyper-latent → hyper parameters, with the task's p_hμ and p_hσ inside."""

from __future__ import annotations

from torch import Tensor, nn

from ptp_export.graphs.interface import Graph
from ptp_export.tensor_spec import TensorSpec
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts


class Hyper(nn.Module):
    """``z_hat`` [1, Z, h, w], integers as float32 → ``mu_hyper``, ``scale_hyper`` [1, M, 4h, 4w]."""

    def __init__(self, codec: FeatureCodec, prompts: TaskPrompts | None) -> None:
        super().__init__()
        self.codec, self.prompts = codec, prompts

    def forward(self, z_hat: Tensor) -> tuple[Tensor, Tensor]:
        return self.codec.hyper_synthesis(z_hat, prompts=self.prompts)


def hyper_graph(codec: FeatureCodec, prompts: TaskPrompts | None) -> Graph:
    """The first graph of the role ``entropy``."""
    spec = codec.spec
    return Graph(
        name="hyper",
        role="entropy",
        module=Hyper(codec, prompts),
        inputs=(TensorSpec("z_hat", "float32", (1, spec.Z, "h", "w")),),
        outputs=(
            TensorSpec("mu_hyper", "float32", (1, spec.M, "4*h", "4*w")),
            TensorSpec("scale_hyper", "float32", (1, spec.M, "4*h", "4*w")),
        ),
        prompts=("prompts.p_hmu", "prompts.p_hsigma") if prompts is not None else (),
    )
