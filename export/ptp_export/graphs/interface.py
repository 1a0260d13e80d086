"""A graph before its export: a torch module and the interface that its ONNX file will have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ptp_export.tensor_spec import Role, TensorSpec
from ptp_model.spec import ModelSpec


@dataclass(frozen=True)
class Graph:
    """A torch module with the interface that its ONNX file will have.

    Attributes:
        name: file stem and the name in the manifest.
        role: which limits and which precision rules apply; ``entropy`` is never converted.
        module: eval-mode module whose ``forward`` takes the inputs by name and returns the outputs in order.
        inputs, outputs: the interface.
        prompts: dotted prefixes of the task-prompt submodules inside ``module``; all their parameters must survive.
    """

    name: str
    role: Role
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    prompts: tuple[str, ...] = field(default=())

    def prompt_parameters(self) -> dict[str, Tensor]:
        """Dotted name → value of every task-prompt parameter inside the graph."""
        return {
            name: value
            for name, value in self.module.named_parameters()
            if any(name.startswith(prefix + ".") for prefix in self.prompts)
        }

    def with_inputs(self, names: tuple[str, ...]) -> Graph:
        """The same graph with only the named inputs declared."""
        return replace(self, inputs=tuple(spec for spec in self.inputs if spec.name in names))


def gain_input(spec: ModelSpec) -> tuple[TensorSpec, ...]:
    """The input that carries a rate's gains, of a codec that has several rates."""
    return (TensorSpec("gain", "float32", (1, spec.M, 1, 1)),) if spec.rates > 1 else ()
