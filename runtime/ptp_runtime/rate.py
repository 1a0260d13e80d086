"""How large a stream is, and over which pixels that is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rate:
    """Size of a stream in relation to its image.

    Attributes:
        size_bytes: of the whole stream, header and checksums included.
        height: of the image that the codec was given, before padding, pixels.
        width: likewise.
        original_height: of the photo; another number only where the task declares a resize before the codec.
        original_width: likewise.
    """

    size_bytes: int
    height: int
    width: int
    original_height: int
    original_width: int

    @property
    def resized(self) -> bool:
        """Whether the photo was resized before the codec."""
        return (self.height, self.width) != (self.original_height, self.original_width)

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the stream over the pixels of the image that the codec was given (the padding is not counted)."""
        return 8 * self.size_bytes / (self.height * self.width)

    @property
    def bits_per_original_pixel(self) -> float:
        """Bits of the stream over the pixels of the photo as it came."""
        return 8 * self.size_bytes / (self.original_height * self.original_width)

    def sentence(self) -> str:
        """For people: bytes, bits per pixel, and over which pixels."""
        text = f"{self.size_bytes} bytes, {self.bits_per_pixel:.4f} bpp over the {self.width}×{self.height} pixels "
        if not self.resized:
            return text + "of the photo"
        original = f"{self.bits_per_original_pixel:.4f} bpp over the {self.original_width}×{self.original_height}"
        return text + f"that were coded ({original} pixels of the photo)"


def rate_values(rate: Rate) -> dict[str, Any]:
    """The size of a stream for JSON."""
    values = {
        "bytes": rate.size_bytes,
        "bpp": rate.bits_per_pixel,
        "bpp_over": {"width": rate.width, "height": rate.height, "what": "the coded image, without padding"},
    }
    if rate.resized:
        values["bpp_original"] = rate.bits_per_original_pixel
        values["original"] = {"width": rate.original_width, "height": rate.original_height}
    return values
