"""What a graph looks like from outside: names, dtypes and shapes of its tensors.

Shapes are written in four symbols: ``h`` and ``w``, the rows and columns of 64×64 blocks of the padded photo, and
``h4`` and ``w4``, the rows and columns of the cropped feature. ``"16*h"`` is sixteen times ``h``; any other word is a
size that follows from the inputs and is not named further.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor, nn

Role = Literal["analysis", "entropy", "synthesis", "head"]
Dim = int | str

_PRODUCT = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*)")


def factor_and_symbol(dim: str) -> tuple[int, str]:
    """``"16*h"`` → (16, "h"); ``"h4"`` → (1, "h4").

    Raises:
        ValueError: another form.
    """
    match = _PRODUCT.fullmatch(dim)
    if match is None:
        raise ValueError(f"a symbolic size is written 'symbol' or 'number*symbol'; got {dim!r}")
    return int(match.group(1) or 1), match.group(2)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: fixed for the life of the bundle schema.
        dtype: numpy's name (``float32``, ``uint8``, ``int16``).
        dims: one entry an axis, numbers or symbolic sizes.
    """

    name: str
    dtype: str
    dims: tuple[Dim, ...]

    def bind(self, values: Mapping[str, int]) -> tuple[Dim, ...]:
        """The dims with the known symbols replaced by numbers."""
        bound: list[Dim] = []
        for dim in self.dims:
            if isinstance(dim, str):
                factor, symbol = factor_and_symbol(dim)
                bound.append(factor * values[symbol] if symbol in values else dim)
            else:
                bound.append(dim)
        return tuple(bound)


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
