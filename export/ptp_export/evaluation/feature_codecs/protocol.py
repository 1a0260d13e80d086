"""What a rival's feature codec is to an evaluation."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptp_export.evaluation.rival import Rival


class RivalFeatureCodec(Rival, Protocol):
    """Takes what ours takes, the pixels after the resize that the teacher declares, and gives what ours gives, ĥ."""

    def encode(self, pixels: NDArray[Any], quality: int) -> bytes:
        """Pixels [H, W, 3] in 0..255 to the bytes that count."""

    def decode(self, data: bytes, size: tuple[int, int], quality: int) -> NDArray[np.float32]:
        """The bytes of pixels of this height and width to ĥ [1, F, ceil(H/4), ceil(W/4)]."""
