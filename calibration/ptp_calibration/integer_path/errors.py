"""Errors of the integer path.

CalibrationError
└── IntegerPathError
    ├── NetworkError            the float network's description contradicts itself
    ├── ConversionError         the network cannot be converted at the precision asked for
    ├── GraphError              an ONNX file that is no integer graph: operator, constant, name or input
    └── IntegerBoundError       an accumulator could pass what FP32 holds exactly
"""

from __future__ import annotations

from ptp_calibration.errors import CalibrationError


class IntegerPathError(CalibrationError):
    """Root of the errors of the integer path: one sentence with expected, got and what to do."""


class NetworkError(IntegerPathError):
    """The description of the float network contradicts itself (shapes, names, order, coverage)."""


class ConversionError(IntegerPathError):
    """The network cannot be converted: no samples, or a layer that no allowed precision fits."""


class GraphError(IntegerPathError):
    """The ONNX file is no integer graph: an operator outside the subset, a weight off the grid, an unknown input."""


class IntegerBoundError(IntegerPathError):
    """An accumulator could pass the integers FP32 holds exactly.

    Attributes:
        graph, layer: where.
        channel: output channel.
        bound: largest magnitude of its accumulator, in its own units.
        limit: what FP32 holds.
    """

    def __init__(self, graph: str, layer: str, channel: int, bound: int, limit: int) -> None:
        self.graph, self.layer, self.channel, self.bound, self.limit = graph, layer, channel, bound, limit
        super().__init__(
            f"the accumulator of layer {layer} (graph {graph}), channel {channel}, can reach {bound}; expected less "
            f"than {limit}, the integers FP32 holds exactly; convert the network again, never edit its weights"
        )
