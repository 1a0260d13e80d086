"""From the sizes of photos that were asked for to the sizes that the codec sees."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_export.options import ExportOptions
from ptp_export.sizes import Size, SizeRange
from ptp_runtime.coded_photo import coded_shape
from ptp_runtime.manifest import CentreCrop, DeclaredResize


@dataclass(frozen=True)
class CodedSizes:
    """Sizes after the resize that a task may declare; without one, the photos' own.

    Attributes:
        static: of a static export; None where height and width are free.
        accepted: what the graphs take.
        profile: what engines are built for.
    """

    static: Size | None
    accepted: SizeRange
    profile: SizeRange


def coded_sizes(options: ExportOptions, resize: DeclaredResize | None) -> CodedSizes:
    """Resolve the sizes of an export.

    A declared resize makes every photo about as large as every other, whatever its own size: ranges of photos then say
    nothing, and the engines cover all that the resize can give. A declared crop gives one size, whatever was asked for.
    """
    photo = options.static_size
    if isinstance(resize, CentreCrop):
        square = SizeRange.static(Size(resize.crop, resize.crop))
        return CodedSizes(square.typical, square, square)
    if resize is None:
        return CodedSizes(photo, options.accepted, options.profile)
    if photo is not None:
        fixed = SizeRange.static(_resized(photo, resize))
        return CodedSizes(fixed.typical, fixed, fixed)
    longest = Size(resize.longer_side, resize.longer_side)
    profile = SizeRange(Size(1, 1), _resized(options.profile.typical, resize), longest)
    return CodedSizes(None, options.accepted, profile)


def _resized(photo: Size, resize: DeclaredResize) -> Size:
    return Size(*coded_shape(photo.height, photo.width, resize))
