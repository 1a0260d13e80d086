"""The entropy path that the reference codes with: the model's float networks, or a bundle's integer graphs in torch.

Either one goes through :func:`code_latents`, which says what an encoder does with the numbers it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptp_export.interop.torch_graphs import TorchGraph
from ptp_export.oracle.graph_sample import GraphSample, array
from ptp_model.codec import SYMBOL_LIMIT, FeatureCodec
from ptp_model.context.schedule import Step, box, coded_positions
from ptp_model.prompts import TaskPrompts
from ptp_model.quantization import MEAN_STEPS

HYPER, LATENT = "hyper", "y_int"


class EntropyReference(Protocol):
    """Gives what the graphs ``hyper`` and ``step_k`` of a bundle must give."""

    def hyper(self, z_hat: Tensor) -> dict[str, Tensor]:
        """The hyper parameters by name, ``mu_hyper`` among them, from integers as float32 [1, Z, h, w]."""

    def step(self, k: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``index`` (uint8), ``mean`` (int16) and what later steps read.

        Args:
            k: position in the schedule.
            tensors: hyper parameters, ``y_int`` [1, M, 4h, 4w] and what earlier steps gave, by name.
        """


@dataclass(frozen=True)
class ModelEntropy:
    """The model's own float networks."""

    codec: FeatureCodec
    prompts: TaskPrompts | None

    def hyper(self, z_hat: Tensor) -> dict[str, Tensor]:
        """See :class:`EntropyReference`."""
        mu, scale = self.codec.hyper_synthesis(z_hat, self.prompts)
        return {"mu_hyper": mu, "scale_hyper": scale}

    def step(self, k: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :class:`EntropyReference`."""
        index, mean = self.codec.context.step_integer(k, tensors["mu_hyper"], tensors["scale_hyper"], tensors[LATENT])
        return {"index": index, "mean": mean}


class GraphEntropy:
    """A bundle's entropy graphs, interpreted by torch: independent of the runtime and its backends.

    Args:
        graphs: ONNX, by name.
        steps: names of the steps' graphs, in coding order.

    Raises:
        EngineError: a graph has an operator that no entropy path has.
    """

    def __init__(self, graphs: Mapping[str, onnx.ModelProto], steps: Sequence[str]) -> None:
        self._hyper = TorchGraph(graphs[HYPER])
        self._steps = [TorchGraph(graphs[name]) for name in steps]

    def hyper(self, z_hat: Tensor) -> dict[str, Tensor]:
        """See :class:`EntropyReference`."""
        return _outputs(self._hyper, {"z_hat": z_hat})

    def step(self, k: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :class:`EntropyReference`."""
        return _outputs(self._steps[k], tensors)


def _outputs(graph: TorchGraph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return dict(zip(graph.output_names, graph(*(tensors[name] for name in graph.input_names)), strict=True))


@dataclass(frozen=True)
class CodedLatents:
    """What an encoder codes of one image.

    Attributes:
        z: rounded hyper-latent, int32 [1, Z, h, w].
        symbols: residual symbols, int32 [1, M, 4h, 4w]; 0 where not coded.
        y_int: decoded latents in sixteenths, float32 [1, M, 4h, 4w].
        mu_hyper: what the synthesis reads of the hyper parameters.
        graphs: of ``hyper`` and every step, inputs (all that it could read) and outputs.
    """

    z: NDArray[Any]
    symbols: NDArray[Any]
    y_int: Tensor
    mu_hyper: Tensor
    graphs: Mapping[str, GraphSample]


@torch.no_grad()
def code_latents(
    y: Tensor, z: Tensor, entropy: EntropyReference, schedule: Sequence[Step], skip_index: int
) -> CodedLatents:
    """Quantise and predict, step by step.

    Args:
        y: [1, M, 4h, 4w], gains included.
        z: [1, Z, h, w], unrounded.
        entropy: gives the table indices and the means.
        schedule: of the steps.
        skip_index: residuals whose table index is below it are 0.
    """
    z_hat = torch.round(z)
    known = entropy.hyper(z_hat)
    mu_hyper = known["mu_hyper"]
    graphs = {HYPER: GraphSample.of({"z_hat": z_hat}, known)}
    y_int, symbols = torch.zeros_like(y), torch.zeros(y.shape, dtype=torch.int32)
    for k, step in enumerate(schedule):
        given = known | {LATENT: y_int}
        found = entropy.step(k, given)
        graphs[step.name] = GraphSample.of(given, found)
        index, mean = found["index"], found["mean"]
        known |= {name: value for name, value in found.items() if name not in ("index", "mean")}
        channels = slice(*step.channels)
        coded = coded_positions(step.region, index)
        residual = box(y[:, channels], step.region) - mean.to(y.dtype) / MEAN_STEPS
        q = torch.round(residual).clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)
        q = torch.where(coded & (index >= skip_index), q, 0.0)
        box(symbols[:, channels], step.region)[..., coded] = q[..., coded].to(torch.int32)
        box(y_int[:, channels], step.region)[..., coded] = (q * MEAN_STEPS + mean)[..., coded]
    return CodedLatents(array(z_hat.to(torch.int32)), array(symbols), y_int, mu_hyper, graphs)
