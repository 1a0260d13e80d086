"""The definition of the integer path: its ONNX files read as integer programs and computed in int64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]


class IntegerOracle:
    """Computes the graphs in int64: integer weights, arithmetic shifts; no floating point anywhere.

    Args:
        graphs: ``hyper`` first, then the steps in coding order.
    """

    def __init__(self, graphs: Mapping[str, onnx.ModelProto]) -> None:
        raise NotImplementedError

    def run(self, name: str, inputs: Mapping[str, Integers]) -> dict[str, NDArray[np.int64]]:
        """Outputs of one graph.

        Args:
            name: ``hyper`` or a step.
            inputs: whole numbers by name: ``z_hat``, ``y_int``, and outputs of earlier graphs as this method gave them.

        Returns:
            int64 by name. ``part_k``: accumulators in units of 2^-n of their channel. ``mu_hyper``: before its scale.
        """
        raise NotImplementedError

    def layers(self, name: str, inputs: Mapping[str, Integers]) -> dict[str, NDArray[np.int64]]:
        """Every layer's tensor of one graph by the layer's name, as in the ONNX file."""
        raise NotImplementedError

    def floats(self, name: str, outputs: Mapping[str, Integers]) -> dict[str, NDArray[np.generic]]:
        """What the ONNX file gives for these outputs of :meth:`run`, in its own dtypes: equal bit for bit."""
        raise NotImplementedError
