"""AVIF by libavif and libaom, as Pillow has them built in."""

from __future__ import annotations

from PIL import features

from ptp_export.evaluation.image_codecs.pillow_image import decoded, encoded
from ptp_export.evaluation.image_codecs.protocol import Pixels
from ptp_runtime.errors import MissingExtraError


class Avif:
    """AV1 intra, 8 bits, 4:2:0, speed 6 of 10 (slower ones cost seconds a photograph and save a few per cent).

    Only the coded picture counts, not the container, whose 270 bytes would weigh more than anything else at the rates
    that matter here.

    Raises:
        MissingExtraError: this Pillow was built without AVIF.
    """

    name = "avif"
    settings = "libavif with libaom, speed 6, 8 bits, 4:2:0; payload without the container"
    qualities = (2, 8, 16, 25, 35, 45, 55, 65, 75, 85)
    scale = range(101)

    def __init__(self) -> None:
        if not features.check("avif"):
            raise MissingExtraError(
                "AVIF is not in this Pillow",
                expected="a Pillow that was built with libavif",
                hint="install Pillow 11.3 or newer from a wheel, or leave avif out of --codecs",
            )

    def encode(self, pixels: Pixels, quality: int) -> bytes:
        """See :class:`~ptp_export.evaluation.image_codecs.protocol.ImageCodec`; quality 0..100."""
        return encoded(pixels, "AVIF", quality=quality, speed=6, subsampling="4:2:0", max_threads=1)

    def decode(self, data: bytes) -> Pixels:
        """See the protocol."""
        return decoded(data)

    def counted(self, data: bytes) -> int:
        """Bytes of the ``mdat`` box's content, which is the AV1 bitstream."""
        position = 0
        while position + 8 <= len(data):
            size = int.from_bytes(data[position : position + 4], "big")
            if data[position + 4 : position + 8] == b"mdat":
                return size - 8
            position += max(size, 8)
        return len(data)
