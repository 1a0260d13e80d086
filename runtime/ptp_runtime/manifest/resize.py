"""The ``resize`` field of the manifest: what a teacher wants done to a photo before the codec. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptp_runtime.errors import ManifestError
from ptp_runtime.manifest.strict_json import Fields


@dataclass(frozen=True)
class Resize:
    """The whole photo at another size (bilinear, align_corners=False).

    Attributes:
        shorter_side: pixels that the shorter side gets …
        longer_side: … unless the longer side would then exceed this.
    """

    shorter_side: int
    longer_side: int

    def to_dict(self) -> dict[str, Any]:
        """The field as JSON values."""
        return {"shorter_side": self.shorter_side, "longer_side": self.longer_side}


@dataclass(frozen=True)
class CentreCrop:
    """The centred square of the scaled photo, as classifiers want it.

    Attributes:
        shorter_side: pixels that the shorter side gets; the longer one keeps the proportion, rounded down.
        crop: side in pixels of the square that is kept, at most ``shorter_side``.
        interpolation: ``bicubic``, with antialiasing.

    Raises:
        ManifestError: a crop that is larger than the scaled photo.
    """

    shorter_side: int
    crop: int
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.crop > self.shorter_side:
            raise ManifestError(
                "preprocessing.resize crops more than there is",
                expected=f"a crop of at most {self.shorter_side} pixels",
                got=str(self.crop),
            )

    def to_dict(self) -> dict[str, Any]:
        """The field as JSON values."""
        return {"shorter_side": self.shorter_side, "crop": self.crop, "interpolation": self.interpolation}


DeclaredResize = Resize | CentreCrop


def read_resize(f: Fields) -> DeclaredResize:
    """The field as parsed; one with a ``crop`` is a :class:`CentreCrop`.

    Raises:
        ManifestError: a part is missing, mistyped, unknown or out of range.
    """
    resize: DeclaredResize
    shorter = f.integer("shorter_side", 1, 4096)
    if f.has("crop"):
        resize = CentreCrop(shorter, f.integer("crop", 1, 4096), f.one_of("interpolation", ("bicubic",)))
    else:
        resize = Resize(shorter, f.integer("longer_side", 1, 4096))
    f.finish()
    return resize
