"""Image codecs as rivals: by name, each in a file with its settings."""

from __future__ import annotations

from collections.abc import Callable

from ptp_export.evaluation.image_codecs.avif import Avif
from ptp_export.evaluation.image_codecs.hevc import Hevc
from ptp_export.evaluation.image_codecs.jpeg import Jpeg
from ptp_export.evaluation.image_codecs.protocol import ImageCodec
from ptp_export.evaluation.image_codecs.webp import Webp
from ptp_runtime.errors import UsageError

__all__ = ["NAMES", "ImageCodec", "image_codec"]

_CODECS: dict[str, Callable[[], ImageCodec]] = {"jpeg": Jpeg, "webp": Webp, "avif": Avif, "hevc": Hevc}
NAMES = tuple(_CODECS)


def image_codec(name: str) -> ImageCodec:
    """A codec by its name.

    Raises:
        UsageError: no such codec.
        MissingExtraError: its library is not installed.
    """
    if name not in _CODECS:
        raise UsageError(
            f"no image codec {name!r}", expected=", ".join(NAMES), got=name, hint="choose some with --codecs"
        )
    return _CODECS[name]()
