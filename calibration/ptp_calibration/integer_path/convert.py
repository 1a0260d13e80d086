"""Post-training conversion of the entropy path to integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from ptp_calibration.integer_path.certificate import LayerProof
from ptp_calibration.integer_path.network import EntropyNetwork, LatentSample
from ptp_calibration.integer_path.precision import DEFAULT_PRECISION, IntegerPrecision


@dataclass(frozen=True)
class ConversionReport:
    """What the conversion cost on its own samples.

    Attributes:
        precision: bits of weights and activations.
        float_bits, integer_bits: of y, of each sample in order.
        symbols: numbers of y of each sample.
        clipped: layer's name → share of its activations that its Clip changed (a ReLU's zeros not counted).
    """

    precision: IntegerPrecision
    float_bits: tuple[float, ...]
    integer_bits: tuple[float, ...]
    symbols: tuple[int, ...]
    clipped: Mapping[str, float]

    @property
    def cost(self) -> float:
        """Bits of y that the integer path needs more, as a share of the float path's: 0.003 is 0.3 %."""
        return sum(self.integer_bits) / sum(self.float_bits) - 1


@dataclass(frozen=True)
class IntegerPath:
    """The converted entropy path.

    Attributes:
        graphs: ``hyper``, ``step_00``, … in coding order; ONNX.
        proofs: the certificate, made from these graphs.
        report: what the conversion cost.
    """

    graphs: Mapping[str, onnx.ModelProto]
    proofs: tuple[LayerProof, ...]
    report: ConversionReport


def convert(
    network: EntropyNetwork, samples: Sequence[LatentSample], precision: IntegerPrecision = DEFAULT_PRECISION
) -> IntegerPath:
    """Convert the float network, calibrated on samples.

    Raises:
        ConversionError: no sample, one that does not fit the network, or a layer that no allowed precision fits.
    """
    raise NotImplementedError
