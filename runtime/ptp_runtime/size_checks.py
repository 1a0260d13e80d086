"""Which sizes of photo a bundle's graphs take."""

from __future__ import annotations

from ptp_runtime.errors import UsageError
from ptp_runtime.images import padded_size
from ptp_runtime.manifest import Manifest


def require_size(manifest: Manifest, height: int, width: int) -> None:
    """Refuse a photo, or the photo of a stream, of a size that the bundle was not exported for.

    Args:
        manifest: of the bundle.
        height, width: of the image that the codec is given, pixels.

    Raises:
        UsageError: outside the range of padded sizes, or not the one size that the head takes.
    """
    pre = manifest.preprocessing
    rows, columns = padded_size(height, width, pre.multiple)
    if not (pre.height[0] <= rows <= pre.height[1] and pre.width[0] <= columns <= pre.width[1]):
        raise UsageError(
            "this bundle was exported for other sizes",
            expected=f"padded heights from {pre.height[0]} to {pre.height[1]}, widths from {pre.width[0]} to"
            f" {pre.width[1]}",
            got=f"{height}×{width} (height×width), padded to {rows}×{columns}",
            hint="export a bundle for this size (ptp-export --size), or scale the photo",
        )
    _require_head_size(manifest, height, width)


def _require_head_size(manifest: Manifest, height: int, width: int) -> None:
    """A bundle for one size has a head for exactly that photo, not for every photo that pads to the same size."""
    stride = manifest.feature.stride
    wanted = (-(-height // stride), -(-width // stride))
    if manifest.side == "encoder":
        return
    (feature,) = manifest.graph_of_role("head").inputs
    fixed = [(side, n) for side, n in zip(feature.shape[-2:], wanted, strict=True) if isinstance(side, int)]
    if any(side != n for side, n in fixed):
        raise UsageError(
            "this bundle was exported for one size of photo",
            expected=f"a feature of {' × '.join(str(side) for side in feature.shape[-2:])}, {stride} pixels each",
            got=f"{height}×{width} (height×width), a feature of {wanted[0]} × {wanted[1]}",
            hint="export a bundle for this size (ptp-export --size), or scale or cut the photo",
        )
