"""What one graph was given and gave on one photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class GraphSample:
    """Inputs and outputs of one graph, by tensor name, in the graph's dtypes."""

    inputs: Arrays
    outputs: Arrays

    @classmethod
    def of(cls, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> GraphSample:
        """The tensors as they are now."""
        return cls(
            {name: array(value) for name, value in inputs.items()},
            {name: array(value) for name, value in outputs.items()},
        )


def array(value: Tensor) -> NDArray[np.generic]:
    """A copy: whoever made the tensor may go on writing into it."""
    copied: NDArray[np.generic] = value.detach().cpu().numpy().copy()
    return copied
