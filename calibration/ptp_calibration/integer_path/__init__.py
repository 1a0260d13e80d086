"""The bit-exact entropy path: a float parameter network becomes integers that every backend computes alike.

Integers travel in FP32 tensors. :func:`convert` makes the ONNX files, :func:`prove` proves from the files alone that
FP32 cannot round in them, and :class:`IntegerOracle` computes them in int64: what every backend must give.
"""

from ptp_calibration.integer_path.conversion.coding_loop import coded_bits
from ptp_calibration.integer_path.conversion.convert import (
    ConversionReport,
    IntegerPath,
    TogetherPaths,
    convert,
    convert_together,
)
from ptp_calibration.integer_path.conversion.further import FurtherTask, Sharing, convert_further
from ptp_calibration.integer_path.errors import (
    ConversionError,
    GraphError,
    IntegerBoundError,
    IntegerPathError,
    NetworkError,
)
from ptp_calibration.integer_path.network import EntropyNetwork, LatentSample, Layer, Source, StepNetwork
from ptp_calibration.integer_path.onnx_from_layers import hyper_name
from ptp_calibration.integer_path.precision import IntegerPrecision
from ptp_calibration.integer_path.proof.certificate import LayerProof, prove
from ptp_calibration.integer_path.proof.oracle import IntegerOracle

__all__ = [
    "ConversionError",
    "ConversionReport",
    "EntropyNetwork",
    "FurtherTask",
    "GraphError",
    "IntegerBoundError",
    "IntegerOracle",
    "IntegerPath",
    "IntegerPathError",
    "IntegerPrecision",
    "LatentSample",
    "Layer",
    "LayerProof",
    "NetworkError",
    "Sharing",
    "Source",
    "StepNetwork",
    "TogetherPaths",
    "coded_bits",
    "convert",
    "convert_further",
    "convert_together",
    "hyper_name",
    "prove",
]
