"""A broken image gives a typed error, never a Pillow exception, a hang or a huge allocation."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ptp_runtime.errors import BrokenImageError, ImageError, UnsupportedImageError
from ptp_runtime.images import load_image

pytestmark = pytest.mark.runtime

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF")


def _file(name: str) -> bytes:
    rng = np.random.default_rng(3)
    noise = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    file = io.BytesIO()
    noise.save(file, name)
    return file.getvalue()


WHOLE = {name: _file(name) for name in FORMATS}


def _path(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "photo"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"not an image", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", bytes(5000)],
    ids=range(6),
)
def test_what_is_no_image_says_so(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BrokenImageError, match="not an image"):
        load_image(_path(tmp_path, data))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    data = WHOLE[name][: int(len(WHOLE[name]) * kept)]

    with pytest.raises(BrokenImageError, match=r"damaged or truncated|not an image"):
        load_image(_path(tmp_path, data))


@pytest.mark.parametrize("name", FORMATS)
def test_a_header_alone_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BrokenImageError):
        load_image(_path(tmp_path, WHOLE[name][:12]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 20))
@example(seed=48925, count=1)  # a TIFF whose second directory has no sizes: counting the frames fails
def test_a_damaged_file_is_taken_or_refused_in_our_words(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(WHOLE[name])
    # Half of the damage near the start, where the headers are.
    for i in range(count):
        data[int(rng.integers(0, len(data) if i % 2 else 64))] = int(rng.integers(0, 256))
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(data)

    try:
        pixels = load_image(path)
    except ImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


def _png_of_size(width: int, height: int) -> bytes:
    """A PNG file that claims a size; its data is a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("warned", ["ignore", "error"])
@pytest.mark.parametrize("size", [(4097, 1), (1, 4097), (9000, 9000), (10_000, 10_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_before_it_goes_off(
    tmp_path: Path, size: tuple[int, int], warned: Literal["ignore", "error"]
) -> None:
    path = _path(tmp_path, _png_of_size(*size))

    with warnings.catch_warnings():
        warnings.simplefilter(warned)
        with pytest.raises(UnsupportedImageError, match=r"size|too large") as caught:
            load_image(path)

    assert "scale it down" in caught.value.hint


def test_a_text_bomb_in_a_png_does_not_go_off(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    good = _png_of_size(8, 8)
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)))

    with pytest.raises(ImageError):
        load_image(_path(tmp_path, good[:33] + bomb + good[33:]))


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError):
        load_image(_path(tmp_path, _png_of_size(*size)))


def test_eps_never_reaches_its_interpreter(tmp_path: Path) -> None:
    """Pillow hands EPS files to Ghostscript; the format is not among ours."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n"

    with pytest.raises(BrokenImageError, match="not an image"):
        load_image(_path(tmp_path, eps))
