"""``step_00`` … (entropy path): hyper parameters and decoded latents → scale indices and means of one coding step."""

from __future__ import annotations

from torch import Tensor, nn

from ptp_export.graphs.interface import Graph
from ptp_export.tensor_spec import TensorSpec
from ptp_model.codec import FeatureCodec
from ptp_model.context.schedule import QUADRANTS


class ContextStep(nn.Module):
    """One step of the context model in the coder's numbers.

    ``mu_hyper``, ``scale_hyper`` and ``y_int`` (decoded latents in sixteenths, 0 where not decoded yet) are
    [1, M, 4h, 4w] float32. ``index`` is clip(floor(s + 0.5), 0, 63) as uint8 and ``mean`` floor(m + 0.5), clipped, as
    int16 in sixteenths: both over the box of the step's region.
    """

    def __init__(self, codec: FeatureCodec, k: int) -> None:
        super().__init__()
        self.context, self.k = codec.context, k

    def forward(self, mu_hyper: Tensor, scale_hyper: Tensor, y_int: Tensor) -> tuple[Tensor, Tensor]:
        return self.context.step_integer(self.k, mu_hyper, scale_hyper, y_int)


def step_graph(codec: FeatureCodec, k: int) -> Graph:
    """The graph of step ``k`` of the schedule, with all possible inputs; the export drops those it does not read."""
    spec, step = codec.spec, codec.context.schedule[k]
    channels = step.channels[1] - step.channels[0]
    factor = 2 if step.region in QUADRANTS else 4
    whole = (1, spec.M, "4*h", "4*w")
    part = (1, channels, f"{factor}*h", f"{factor}*w")
    return Graph(
        name=step.name,
        role="entropy",
        module=ContextStep(codec, k),
        inputs=tuple(TensorSpec(name, "float32", whole) for name in ("mu_hyper", "scale_hyper", "y_int")),
        outputs=(TensorSpec("index", "uint8", part), TensorSpec("mean", "int16", part)),
    )
