"""The gains of a bundle that serves several rates, and their file ``rates.bin``.

Each rate has one gain for every channel of y. The encoder's analysis multiplies y by them before anything is rounded;
the decoder's synthesis divides by them again. The entropy path between never sees them, but a stream decoded with other
gains would give another picture: so they enter the identity, and the header says which rate was coded.

The file format is described in ``docs/bitstream-format.md``. Source of the method: Cui et al., "Asymmetric gained deep
image compression" (arXiv 2003.02012).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import BundleError

MIN_RATES, MAX_RATES = 2, 255
"""A bundle with one rate has no such file; the number of a rate is one byte of the stream's header."""

_MAGIC = b"PTPG"
_VERSION = 1
_HEAD = struct.Struct("<4sBBHH")


@dataclass(frozen=True)
class RateGains:
    """Gains of every rate.

    Attributes:
        gains: float32 [rates, M], finite and above 0; the rate with the fewest bits first.
    """

    gains: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = self.gains.shape
        if self.gains.dtype != np.float32 or len(shape) != 2 or not (MIN_RATES <= shape[0] <= MAX_RATES and shape[1]):
            raise _error(f"float32 [{MIN_RATES} to {MAX_RATES} rates, channels]", f"{self.gains.dtype} {list(shape)}")
        if not (np.isfinite(self.gains).all() and (self.gains > 0).all()):
            raise _error("gains that are finite and above 0", "others among them")

    @classmethod
    def from_bytes(cls, data: bytes) -> RateGains:
        """Read ``rates.bin``.

        Raises:
            BundleError: another format, version or length, or gains that cannot be.
        """
        if len(data) < _HEAD.size or data[:4] != _MAGIC:
            raise _error(f"a file that begins with {_MAGIC.decode()}", f"{len(data)} bytes beginning {data[:4]!r}")
        _, version, reserved, rates, channels = _HEAD.unpack_from(data)
        if version != _VERSION or reserved:
            raise _error(f"version {_VERSION}", f"version {version}, reserved byte {reserved}")
        if len(data) != _HEAD.size + 4 * rates * channels:
            raise _error(f"{_HEAD.size + 4 * rates * channels} bytes for {rates} × {channels} gains", str(len(data)))
        return cls(np.frombuffer(data, "<f4", offset=_HEAD.size).reshape(rates, channels).astype(np.float32))

    def to_bytes(self) -> bytes:
        """The file's bytes; inverse of :meth:`from_bytes`."""
        rates, channels = self.gains.shape
        return _HEAD.pack(_MAGIC, _VERSION, 0, rates, channels) + self.gains.astype("<f4").tobytes()

    def vector(self, rate: int) -> npt.NDArray[np.float32]:
        """What the graphs take as ``gain`` for a rate: float32 [1, M, 1, 1]."""
        return np.ascontiguousarray(self.gains[rate].reshape(1, -1, 1, 1))


def _error(expected: str, got: str) -> BundleError:
    return BundleError("rates.bin cannot be used", expected=expected, got=got, hint="export the bundle again")
