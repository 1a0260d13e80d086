"""How many bits weights and activations may have, and how far the conversion may go to fit the accumulator."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_calibration.integer_path.errors import ConversionError

#: FP32 holds every integer below this exactly (24 significant bits); an accumulator stays under it.
ACCUMULATOR_LIMIT = 2**24
#: Bounds of what the coder takes (ptp_model.quantization: CONTEXT_LIMIT, MEAN_LIMIT, SCALE_LEVELS).
CONTEXT_LIMIT = 1023
MEAN_LIMIT = 8191
SCALE_LEVELS = 64
#: Bits of ``mu_hyper`` where it leaves the path: what the entropy path itself reads is coarser.
MU_BITS = 13


@dataclass(frozen=True)
class IntegerPrecision:
    """Bits of the integer path: ``W10A10`` unless told otherwise.

    Attributes:
        weight_bits: signed weights lie within ±(2^(bits-1) - 1).
        activation_bits: activations lie within 0..2^bits - 1 after a ReLU, ±(2^bits - 1) otherwise.
    """

    weight_bits: int = 10
    activation_bits: int = 10

    def __post_init__(self) -> None:
        if not 4 <= self.weight_bits <= 12 or not 4 <= self.activation_bits <= 11:
            raise ConversionError(
                f"precision W{self.weight_bits}A{self.activation_bits} is not offered; expected W4..W12 and A4..A11"
            )

    def __str__(self) -> str:
        return f"W{self.weight_bits}A{self.activation_bits}"

    @property
    def weight_limit(self) -> int:
        """Largest magnitude of a weight."""
        return int(2 ** (self.weight_bits - 1) - 1)

    @property
    def activation_limit(self) -> int:
        """Largest magnitude of an activation."""
        return int(2**self.activation_bits - 1)


#: W10A10, the default.
DEFAULT_PRECISION = IntegerPrecision()
