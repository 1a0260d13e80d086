"""JPEG by libjpeg-turbo, as Pillow has it built in."""

from __future__ import annotations

from ptp_export.evaluation.image_codecs.pillow_image import decoded, encoded
from ptp_export.evaluation.image_codecs.protocol import Pixels


class Jpeg:
    """Progressive, optimised Huffman tables, 4:2:0, no metadata: the fewest bytes this encoder gives for a quality.

    Trellis quantisation, which MozJPEG adds to the same format, is not in it.
    """

    name = "jpeg"
    settings = "libjpeg-turbo, progressive, optimised Huffman tables, 4:2:0"
    qualities = (3, 6, 10, 15, 22, 32, 45, 60, 75, 88)
    scale = range(1, 96)

    def encode(self, pixels: Pixels, quality: int) -> bytes:
        """See :class:`~ptp_export.evaluation.image_codecs.protocol.ImageCodec`; quality 1..95."""
        return encoded(pixels, "JPEG", quality=quality, optimize=True, progressive=True, subsampling="4:2:0")

    def decode(self, data: bytes) -> Pixels:
        """See the protocol."""
        return decoded(data)

    def counted(self, data: bytes) -> int:
        """The whole file: it has no metadata."""
        return len(data)
