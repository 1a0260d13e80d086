"""Photos in: from a path or an array to RGB pixels, and from pixels to the codec's input.

The codec takes 8-bit RGB of 1×1 to 4096×4096 pixels. An image of another kind is refused with a typed error that
says what to do, because each silent conversion (which background behind the alpha? which frame? which half of the 16
bits?) changes what the task network sees. ``convert=True`` asks for the usual conversions in so many words.

What happens to each kind:

==================  ================================================  =====================================
kind                by default                                        with ``convert=True``
==================  ================================================  =====================================
RGB, palette        taken (a palette without transparency is RGB)     taken
EXIF orientation    applied; an unreadable EXIF block is ignored      likewise
multi-picture JPEG  the first picture, which is the photo             likewise
greyscale, 1 bit    UnsupportedImageError                             the value in each of R, G, B
alpha               UnsupportedImageError                             blended over white
CMYK, YCbCr, Lab …  UnsupportedImageError                             Pillow's conversion, no colour profile
16 bits a channel   UnsupportedImageError                             the upper 8 bits
float, 32-bit       UnsupportedImageError                             UnsupportedImageError: no known range
animated, pages     UnsupportedImageError                             the first frame
too large           UnsupportedImageError, before any pixel is read   likewise
not an image        BrokenImageError                                  likewise
truncated, damaged  BrokenImageError                                  likewise
==================  ================================================  =====================================

Colour profiles are not applied: the teachers were trained on pixels as stored.
"""

from __future__ import annotations

import io
import logging
import os
import struct
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from ptp_runtime.errors import BrokenImageError, ImageError, UnsupportedImageError

LARGEST_SIDE = 4096
"""Longest side that is taken, pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF")
"""Pillow's names of the file formats that are opened; its other decoders never see the file."""

_log = logging.getLogger(__name__)

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ERRORS = (OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, struct.error, Warning)
"""What Pillow's EXIF reader raises on damaged blocks."""

_CONVERT_HINT = "convert it to 8-bit RGB, or ask for the conversion (--convert, load_image(..., convert=True))"

Pixels = npt.NDArray[np.uint8]


def load_image(source: str | os.PathLike[str] | npt.NDArray[Any], *, convert: bool = False) -> Pixels:
    """The photo as uint8 RGB, shape (H, W, 3), C-contiguous, 1 ≤ H, W ≤ 4096.

    Args:
        source: a path, or an array that already is what is returned.
        convert: take kinds that are refused otherwise; the table at the top of this module says how.

    Raises:
        ImageError: the file is not there or may not be read.
        BrokenImageError: no image, truncated or damaged.
        UnsupportedImageError: an image, or array, of a kind that the codec does not take.
    """
    if isinstance(source, np.ndarray):
        return _check_array(source)
    if not isinstance(source, (str, os.PathLike)):
        raise UnsupportedImageError(
            "the image is of a type that is not taken",
            expected="a path, or a uint8 array of shape (height, width, 3)",
            got=type(source).__name__,
            hint="use numpy.asarray(image.convert('RGB')) on a Pillow image",
        )
    return _load_file(os.fspath(source), convert)


def image_from_bytes(data: bytes, name: str = "the photo", *, convert: bool = False) -> Pixels:
    """As :func:`load_image`, of the bytes of a file; ``name`` is what messages call it."""
    return _decoded(io.BytesIO(data), name, convert)


def image_size(data: bytes, name: str = "the photo") -> tuple[int, int]:
    """Height and width that the bytes of an image file promise, as stored; no pixel is decoded.

    Raises:
        BrokenImageError, UnsupportedImageError: as :func:`load_image`.
    """
    with _opened(io.BytesIO(data), name) as image:
        return image.height, image.width


def _check_array(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise UnsupportedImageError(
            "the array is no 8-bit RGB image",
            expected="dtype uint8 and shape (height, width, 3)",
            got=f"dtype {array.dtype} and shape {array.shape}",
            hint="convert the array",
        )
    _check_size(array.shape[1], array.shape[0], "the array")
    return np.ascontiguousarray(array)


def _check_size(width: int, height: int, name: str) -> None:
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise UnsupportedImageError(
            f"{name} has a size that the codec does not take",
            expected=f"1×1 to {LARGEST_SIDE}×{LARGEST_SIDE} pixels",
            got=f"{width}×{height} (width×height)",
            hint="scale it down or cut it into tiles" if max(width, height) > LARGEST_SIDE else "give it some pixels",
        )


def _load_file(path: str, convert: bool) -> Pixels:
    try:
        file = open(path, "rb")  # noqa: SIM115 - the with block follows; only the opening gives these errors
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read", expected="a photo", got=error.strerror or str(error), hint="check the path"
        ) from error
    with file:
        return _decoded(file, path, convert)


def _decoded(file: IO[bytes], name: str, convert: bool) -> Pixels:
    with _opened(file, name) as image:
        _check_kind(image, name, convert)
        try:
            image.load()
            pixels = _rgb(_oriented(image, name))
        except Exception as error:  # as in _opened, for damaged or truncated data
            raise _broken(name, error) from error
    return np.ascontiguousarray(pixels)


def _opened(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """The image of a size that is taken; nothing has been decoded yet."""
    try:
        image = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnsupportedImageError(
            f"{name} is too large",
            expected=f"at most {LARGEST_SIDE}×{LARGEST_SIDE} pixels",
            got=str(error),
            hint="scale it down or cut it into tiles",
        ) from error
    except UnidentifiedImageError as error:
        raise BrokenImageError(
            f"{name} is not an image that can be read",
            expected="one of the formats " + ", ".join(FORMATS),
            hint="check the file, or convert it to PNG",
        ) from error
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged headers
        raise _broken(name, error) from error
    try:
        _check_size(*image.size, name)
    except UnsupportedImageError:
        image.close()
        raise
    return image


def _broken(path: str, error: Exception) -> BrokenImageError:
    return BrokenImageError(
        f"{path} is damaged or truncated",
        expected="a complete image file",
        got=str(error) or type(error).__name__,
        hint="fetch or export the photo again",
    )


def _check_kind(image: ImageFile.ImageFile, path: str, convert: bool) -> None:
    """Refuse what is not 8-bit RGB; nothing has been decoded yet."""
    mode = image.mode
    kind = ""
    if mode in ("F", "I") and not _is_deep(image):
        raise UnsupportedImageError(
            f"{path} has float or 32-bit pixels",
            expected="8-bit RGB",
            got=f"mode {mode}",
            hint="convert it to 8-bit RGB",
        )
    frames = 1 if image.format == "MPO" else _frames(image, path)
    if frames > 1:
        kind = f"an animation or several pages ({frames} frames)"
    elif _is_deep(image):
        kind = "16 bits a channel"
    elif mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        kind = "an alpha channel"
    elif mode in ("1", "L"):
        kind = "greyscale"
    elif mode not in ("RGB", "P"):
        kind = f"the colour model {mode}"
    if kind and not convert:
        raise UnsupportedImageError(
            f"{path} is not an 8-bit RGB image", expected="8-bit RGB", got=kind, hint=_CONVERT_HINT
        )


def _frames(image: ImageFile.ImageFile, path: str) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:  # counting walks the file's directories, which may be damaged
        raise _broken(path, error) from error


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """More than 8 bits a channel; Pillow opens several such files as plain RGB and drops the lower bits."""
    if image.mode.startswith("I;16"):
        return True
    for tile in image.tile:
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        for arg in args:
            if isinstance(arg, str) and ";16" in arg:
                return True
        if tile[0] in ("ppm", "ppm_plain") and any(isinstance(arg, int) and arg > 255 for arg in args):
            return True
    return False


def _oriented(image: Image.Image, path: str) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _EXIF_ERRORS as error:  # the pixels are fine: a damaged note about them does not make the photo unusable
        _log.warning("%s: the EXIF block cannot be read (%s); the photo is taken as it is stored", path, error)
        return image
    method = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        grey = (np.clip(deep, 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        front = image.convert("RGBA")
        back = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(back, front).convert("RGB"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def padded_size(height: int, width: int, multiple: int) -> tuple[int, int]:
    """Height and width rounded up to a multiple, pixels."""
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def lead_padding(height: int, width: int, lead_multiple: int) -> tuple[int, int]:
    """Rows above and columns left of the photo in the coded image, so that both sides end on a multiple."""
    return -height % lead_multiple, -width % lead_multiple


def network_input(
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.float32], multiple: int, lead_multiple: int = 1
) -> npt.NDArray[np.float32]:
    """The analysis graph's ``image``: float32 [1, 3, Hp, Wp], RGB in 0..1.

    Padded by repeating the border pixel, so that no edge appears where the photo ends: first at the top and left (see
    :func:`lead_padding`), then at the right and bottom.

    Args:
        pixels: uint8 (H, W, 3), or float32 of the same shape in 0..255 (after a declared resize).
        multiple: Hp and Wp are H and W rounded up to a multiple of this.
        lead_multiple: of the padding at the top and left; divides ``multiple``. 1: none.
    """
    height, width = pixels.shape[:2]
    top, left = lead_padding(height, width, lead_multiple)
    bottom, right = top + height, left + width
    out = np.empty((1, 3, *padded_size(height, width, multiple)), np.float32)
    planes = out[0]
    np.divide(pixels.transpose(2, 0, 1), np.float32(255), out=planes[:, top:bottom, left:right], dtype=np.float32)
    planes[:, top:bottom, :left] = planes[:, top:bottom, left : left + 1]
    planes[:, top:bottom, right:] = planes[:, top:bottom, right - 1 : right]
    planes[:, :top] = planes[:, top : top + 1]
    planes[:, bottom:] = planes[:, bottom - 1 : bottom]
    return out
