"""WebP by libwebp, as Pillow has it built in."""

from __future__ import annotations

from ptp_export.evaluation.image_codecs.pillow_image import decoded, encoded
from ptp_export.evaluation.image_codecs.protocol import Pixels


class Webp:
    """Lossy (the intra coding of VP8, always 4:2:0) with method 6, the slowest and best search."""

    name = "webp"
    settings = "libwebp, lossy, method 6, 4:2:0"
    qualities = (0, 3, 8, 15, 25, 40, 55, 70, 80, 90)
    scale = range(101)

    def encode(self, pixels: Pixels, quality: int) -> bytes:
        """See :class:`~ptp_export.evaluation.image_codecs.protocol.ImageCodec`; quality 0..100."""
        return encoded(pixels, "WEBP", quality=quality, method=6)

    def decode(self, data: bytes) -> Pixels:
        """See the protocol."""
        return decoded(data)

    def counted(self, data: bytes) -> int:
        """The whole file: its container takes 20 bytes and its metadata none."""
        return len(data)
