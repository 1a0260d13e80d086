"""HEVC intra by x265, through PyAV. The only file that needs ``av``.

There is no VVC beside it: the FFmpeg in PyAV's wheels (18.1) has a VVC decoder, and for encoding only Intel's hardware
(``vvc_qsv``), not VVenC; no maintained package on PyPI has an encoder either.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from ptp_export.evaluation.image_codecs.protocol import Pixels
from ptp_export.evaluation.rival import require_sides
from ptp_runtime.errors import MissingExtraError

_ODD_WIDTH, _ODD_HEIGHT = 1, 2
#: Sides of the largest coding block, pixels; x265 wants a picture of at least one.
_BLOCKS = (16, 32, 64)
_SMALLEST = _BLOCKS[0]


def _library() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            "HEVC needs PyAV",
            expected="the package av",
            got=str(error),
            hint="pip install 'ptp-deploy[eval]', or leave hevc out of --codecs",
        ) from error
    if "libx265" not in av.codecs_available:
        raise MissingExtraError(
            "this PyAV has no HEVC encoder",
            expected="libx265, as in PyAV's wheels",
            hint="pip install 'ptp-deploy[eval]' from wheels, or leave hevc out of --codecs",
        )
    return av


class Hevc:
    """One intra picture at a fixed QP: preset slow, tuned for PSNR, 4:2:0 at full range (BT.601, as JPEG's), 8 bits.

    The bytes are the elementary stream with its parameter sets and without x265's note about itself, and one byte
    before it that says which sides were odd: 4:2:0 needs even ones, and the border pixel is repeated.

    Raises:
        MissingExtraError: PyAV is not installed, or was built without x265.
    """

    name = "hevc"
    settings = "x265, one intra picture, preset slow, tune psnr, constant QP, 8 bits, 4:2:0; elementary stream"
    qualities = (50, 47, 44, 41, 38, 35, 32, 28, 24, 20)
    scale = range(51, -1, -1)

    def __init__(self) -> None:
        self._av = _library()

    def encode(self, pixels: Pixels, quality: int) -> bytes:
        """See :class:`~ptp_export.evaluation.image_codecs.protocol.ImageCodec`; quality is x265's QP, 0..51.

        Raises:
            UnsupportedImageError: a side of less than 16 pixels.
        """
        height, width = pixels.shape[:2]
        require_sides(pixels, _SMALLEST, "x265", "hevc out of --codecs")
        block = max(size for size in _BLOCKS if size <= min(height, width))
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        encoder = self._av.CodecContext.create("libx265", "w")
        encoder.height, encoder.width = even.shape[:2]
        encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1)
        # libx265 prints its settings unless told otherwise; one thread makes the bytes the same on every machine.
        fixed = (
            f"qp={quality}:ctu={block}:keyint=1:info=0:range=full:colormatrix=smpte170m"
            ":pools=none:frame-threads=1:log-level=-1"
        )
        encoder.options = {"preset": "slow", "tune": "psnr", "x265-params": fixed}
        frame = self._av.VideoFrame.from_ndarray(_planes(even), format="yuv420p")
        packets = [*encoder.encode(frame), *encoder.encode(None)]
        odd = _ODD_WIDTH * (width % 2) | _ODD_HEIGHT * (height % 2)
        return bytes([odd]) + b"".join(bytes(packet) for packet in packets)

    def decode(self, data: bytes) -> Pixels:
        """See the protocol."""
        decoder = self._av.CodecContext.create("hevc", "r")
        decoder.thread_count = 1
        frames = list(decoder.decode(self._av.Packet(data[1:]))) + list(decoder.decode(None))
        frame = frames[0]
        pixels = _pixels(frame.reformat(format="yuv420p").to_ndarray(), frame.height, frame.width)
        height = frame.height - bool(data[0] & _ODD_HEIGHT)
        width = frame.width - bool(data[0] & _ODD_WIDTH)
        return np.ascontiguousarray(pixels[:height, :width])

    def counted(self, data: bytes) -> int:
        """All of it."""
        return len(data)


def _planes(pixels: Pixels) -> Pixels:
    """RGB [H, W, 3], even sides → Y, then Cb and Cr at half the size, as FFmpeg packs them: [3 H / 2, W]."""
    height, width = pixels.shape[:2]
    luma, *chroma = Image.fromarray(pixels).convert("YCbCr").split()
    halves = [np.asarray(plane.resize((width // 2, height // 2), Image.Resampling.BOX)) for plane in chroma]
    flat: Pixels = np.concatenate([np.asarray(luma).ravel(), *(half.ravel() for half in halves)])
    return flat.reshape(-1, width)


def _pixels(planes: Pixels, height: int, width: int) -> Pixels:
    """The inverse of :func:`_planes`, chroma enlarged bilinearly."""
    flat, quarter = planes.ravel(), height * width // 4
    luma = Image.fromarray(flat[: 4 * quarter].reshape(height, width))
    halves = [flat[k * quarter : (k + 1) * quarter].reshape(height // 2, width // 2) for k in (4, 5)]
    chroma = [Image.fromarray(half).resize((width, height), Image.Resampling.BILINEAR) for half in halves]
    return np.asarray(Image.merge("YCbCr", [luma, *chroma]).convert("RGB"))
