"""Photo sizes an export is made for: one fixed size, or a range.

Units: pixels, height before width everywhere. The codec pads a photo at the right and bottom to a multiple of 64.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ptp_runtime.errors import UsageError

#: Sides of a padded photo are multiples of this (the hyper-latent has stride 64).
PAD_MULTIPLE = 64
#: Stride of the feature h that the head reads.
FEATURE_STRIDE = 4
#: Largest side, in pixels, that a stream's reader accepts.
MAX_SIDE = 4096


@dataclass(frozen=True, order=True)
class Size:
    """Height and width of a photo, in pixels."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise UsageError(
                "a photo size is out of range",
                expected=f"1 to {MAX_SIDE} pixels a side",
                got=f"{self.height}x{self.width}",
                hint="give a smaller size as HxW, for example 512x768",
            )

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """``"512x768"`` → 512 rows, 768 columns.

        Raises:
            UsageError: not two whole numbers, or out of range.
        """
        match = re.fullmatch(r"\s*(\d{1,6})\s*[x×X]\s*(\d{1,6})\s*", text)
        if match is None:
            raise UsageError(
                "a photo size cannot be read",
                expected="HxW in pixels, height first",
                got=repr(text),
                hint="write for example 512x768",
            )
        return cls(int(match.group(1)), int(match.group(2)))

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of 64×64 blocks after padding: the size of the hyper-latent."""
        return -(-self.height // PAD_MULTIPLE), -(-self.width // PAD_MULTIPLE)

    @property
    def feature(self) -> tuple[int, int]:
        """Rows and columns of the cropped feature h (stride 4)."""
        return -(-self.height // FEATURE_STRIDE), -(-self.width // FEATURE_STRIDE)

    def bindings(self) -> dict[str, int]:
        """Values of the symbols that the graphs' shapes are written in: h, w (blocks) and h4, w4 (cropped feature)."""
        (h, w), (h4, w4) = self.blocks, self.feature
        return {"h": h, "w": w, "h4": h4, "w4": w4}


@dataclass(frozen=True)
class SizeRange:
    """Smallest, typical and largest photo. All three equal: a static export.

    The ONNX graphs of a dynamic export take any size; engines are built for this range and tuned for ``typical``.
    """

    smallest: Size
    typical: Size
    largest: Size

    def __post_init__(self) -> None:
        for low, high in ((self.smallest, self.typical), (self.typical, self.largest)):
            if low.height > high.height or low.width > high.width:
                raise UsageError(
                    "the range of sizes is not ordered",
                    expected="smallest ≤ typical ≤ largest in height and in width",
                    got=f"{self.smallest}, {self.typical}, {self.largest}",
                    hint="check --min-size, --typical-size and --max-size",
                )

    @classmethod
    def static(cls, size: Size) -> SizeRange:
        """One size only."""
        return cls(size, size, size)

    @property
    def is_static(self) -> bool:
        return self.smallest == self.largest
