"""Pictures through Pillow's encoders and decoders, in memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from ptp_export.evaluation.image_codecs.protocol import Pixels


def encoded(pixels: Pixels, file_format: str, **settings: Any) -> bytes:
    """RGB uint8 [H, W, 3] as a file of Pillow's ``file_format``."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **settings)
    return buffer.getvalue()


def decoded(data: bytes) -> Pixels:
    """RGB uint8 [H, W, 3] of a file that Pillow knows."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
