"""Each kind of image does what the table in ``ptp_runtime.images`` says."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_runtime.errors import ImageError, UnsupportedImageError
from ptp_runtime.images import LARGEST_SIDE, lead_padding, load_image, network_input, padded_size

pytestmark = pytest.mark.runtime


def _photo(height: int = 20, width: int = 30) -> Image.Image:
    rng = np.random.default_rng(7)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _png(depth: int, colour: int, row: bytes, rows: int) -> bytes:
    """A PNG file of any bit depth, which Pillow does not write."""
    width = len(row) * 8 // (depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, rows, depth, colour, 0, 0, 0)
    data = zlib.compress((b"\0" + row) * rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_rgb_is_taken_as_it_is(tmp_path: Path, suffix: str) -> None:
    path = _saved(_photo(), tmp_path / f"photo.{suffix}")

    pixels = load_image(path)

    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, np.asarray(_photo()))


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_a_lossy_file_is_taken(tmp_path: Path, suffix: str) -> None:
    assert load_image(str(_saved(_photo(), tmp_path / f"photo.{suffix}"))).shape == (20, 30, 3)


def test_an_array_is_taken_as_it_is() -> None:
    array = np.asarray(_photo())

    assert np.array_equal(load_image(array), array)


def test_a_strided_array_becomes_contiguous() -> None:
    array = np.asarray(_photo())[::-1, ::2]

    pixels = load_image(array)

    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), bool),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4097, 1, 3), np.uint8),
        np.zeros((1, 4097, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_another_array_is_refused(array: Any) -> None:
    with pytest.raises(UnsupportedImageError, match="expected"):
        load_image(array)


@pytest.mark.parametrize(
    "source", [None, 7, b"bytes", Image.new("RGB", (4, 4)), [[1, 2, 3]]], ids=lambda value: type(value).__name__
)
def test_another_type_is_refused(source: Any) -> None:
    with pytest.raises(UnsupportedImageError, match="expected a path"):
        load_image(source)


def test_a_palette_without_transparency_is_rgb(tmp_path: Path) -> None:
    image = _photo().quantize(16)

    pixels = load_image(_saved(image, tmp_path / "photo.png"))

    assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """As stored in the file, the photo is turned by the inverse; loaded, it stands upright again."""
    upright = _photo()
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation

    pixels = load_image(_saved(stored, tmp_path / "photo.png", exif=exif))

    assert np.array_equal(pixels, np.asarray(upright))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_impossible_orientation_changes_nothing(tmp_path: Path, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value

    pixels = load_image(_saved(_photo(), tmp_path / "photo.png", exif=exif))

    assert np.array_equal(pixels, np.asarray(_photo()))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_damaged_exif_block_changes_nothing(tmp_path: Path) -> None:
    whole = io.BytesIO()
    _photo().save(whole, "JPEG", exif=b"Exif\0\0" + b"MM\0*" + b"\xff" * 20)
    (tmp_path / "photo.jpg").write_bytes(whole.getvalue())

    assert load_image(tmp_path / "photo.jpg").shape == (20, 30, 3)


def test_the_first_picture_of_a_camera_file_is_the_photo(tmp_path: Path) -> None:
    """Cameras store a preview behind the photo (MPO)."""
    path = tmp_path / "photo.jpg"
    _photo().save(path, "MPO", save_all=True, append_images=[_photo(5, 5)])

    assert load_image(path).shape == (20, 30, 3)


SIXTEEN = bytes(range(0, 96, 2)) * 2


def _kinds(folder: Path) -> dict[str, tuple[Path, str, Any]]:
    """Name: the file, a word of the message, and the pixel at the top left after the conversion (None: no matter)."""
    grey = Image.new("L", (4, 3), 77)
    alpha = Image.new("RGBA", (4, 3), (255, 0, 0, 0))
    half = Image.new("LA", (4, 3), (0, 51))
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    frames = [Image.new("RGB", (4, 3), (9, 8, 7)), Image.new("RGB", (4, 3), (1, 2, 3))]

    def raw(name: str, data: bytes) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return {
        "greyscale png": (_saved(grey, folder / "grey.png"), "greyscale", (77, 77, 77)),
        "greyscale jpeg": (_saved(grey, folder / "grey.jpg"), "greyscale", (77, 77, 77)),
        "one bit": (_saved(grey.convert("1"), folder / "bit.png"), "greyscale", None),
        "rgba": (_saved(alpha, folder / "rgba.png"), "alpha", (255, 255, 255)),
        "rgba webp": (_saved(alpha, folder / "rgba.webp", lossless=True), "alpha", (255, 255, 255)),
        "grey and alpha": (_saved(half, folder / "la.png"), "alpha", (204, 204, 204)),
        "transparent palette": (_saved(palette, folder / "p.png", transparency=1), "alpha", (255, 255, 255)),
        "transparent colour": (
            _saved(frames[0], folder / "trns.png", transparency=(9, 8, 7)),
            "alpha",
            (255, 255, 255),
        ),
        "cmyk jpeg": (_saved(frames[0].convert("CMYK"), folder / "cmyk.jpg"), "CMYK", None),
        "cmyk tiff": (_saved(frames[0].convert("CMYK"), folder / "cmyk.tiff"), "CMYK", (9, 8, 7)),
        "lab": (_saved(Image.new("LAB", (4, 3)), folder / "lab.tiff"), "LAB", None),
        "16-bit grey png": (raw("g16.png", _png(16, 0, bytes([0x12, 0x34] * 4), 3)), "16 bits", (0x12,) * 3),
        "16-bit rgb png": (
            raw("rgb16.png", _png(16, 2, bytes([1, 255, 2, 255, 3, 255] * 4), 3)),
            "16 bits",
            (1, 2, 3),
        ),
        "16-bit rgba png": (raw("rgba16.png", _png(16, 6, bytes([1, 0] * 16), 3)), "16 bits", None),
        "16-bit grey and alpha png": (raw("la16.png", _png(16, 4, bytes([1, 0] * 8), 3)), "16 bits", None),
        "16-bit grey tiff": (
            _saved(Image.fromarray(np.full((3, 4), 0x1234, np.uint16)), folder / "g16.tiff"),
            "16 bits",
            (0x12,) * 3,
        ),
        "16-bit ppm": (raw("p.ppm", b"P6 4 3 65535\n" + b"\x12\x34" * 36), "16 bits", (0x12,) * 3),
        "16-bit pgm": (raw("p.pgm", b"P5 4 3 65535\n" + b"\x12\x34" * 12), "16 bits", (0x12,) * 3),
        "animated gif": (
            _saved(frames[0], folder / "a.gif", save_all=True, append_images=frames[1:]),
            "2 frames",
            (9, 8, 7),
        ),
        "animated png": (
            _saved(frames[0], folder / "a.png", save_all=True, append_images=frames[1:]),
            "2 frames",
            (9, 8, 7),
        ),
        "animated webp": (
            _saved(frames[0], folder / "a.webp", save_all=True, append_images=frames[1:], lossless=True),
            "2 frames",
            (9, 8, 7),
        ),
        "pages": (
            _saved(frames[0], folder / "pages.tiff", save_all=True, append_images=frames[1:]),
            "2 frames",
            (9, 8, 7),
        ),
    }


KINDS = (
    "greyscale png",
    "greyscale jpeg",
    "one bit",
    "rgba",
    "rgba webp",
    "grey and alpha",
    "transparent palette",
    "transparent colour",
    "cmyk jpeg",
    "cmyk tiff",
    "lab",
    "16-bit grey png",
    "16-bit rgb png",
    "16-bit rgba png",
    "16-bit grey and alpha png",
    "16-bit grey tiff",
    "16-bit ppm",
    "16-bit pgm",
    "animated gif",
    "animated png",
    "animated webp",
    "pages",
)


def test_the_list_of_kinds_is_complete(tmp_path: Path) -> None:
    assert set(KINDS) == set(_kinds(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    path, word, _ = _kinds(tmp_path)[kind]

    with pytest.raises(UnsupportedImageError, match=word) as caught:
        load_image(path)

    assert caught.value.expected == "8-bit RGB"
    assert "--convert" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_is_converted_when_asked(tmp_path: Path, kind: str) -> None:
    path, _, corner = _kinds(tmp_path)[kind]

    pixels = load_image(path, convert=True)

    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, 4, 3)
    if corner is not None:
        assert tuple(int(value) for value in pixels[0, 0]) == corner


@pytest.mark.parametrize("mode", ["F", "I"])
@pytest.mark.parametrize("convert", [False, True])
def test_float_and_32_bits_are_refused_in_any_case(tmp_path: Path, mode: str, convert: bool) -> None:
    path = _saved(Image.new(mode, (4, 3)), tmp_path / "deep.tiff")

    with pytest.raises(UnsupportedImageError, match="32-bit"):
        load_image(path, convert=convert)


def test_the_largest_size_is_taken(tmp_path: Path) -> None:
    path = _saved(Image.new("RGB", (LARGEST_SIDE, 1)), tmp_path / "wide.png")

    assert load_image(path).shape == (1, LARGEST_SIDE, 3)


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(tmp_path / "nothing.jpg")


def test_a_directory_is_no_photo(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(tmp_path)


@pytest.mark.parametrize(("side", "padded"), [(1, 64), (63, 64), (64, 64), (65, 128), (4096, 4096)])
def test_sizes_are_rounded_up(side: int, padded: int) -> None:
    assert padded_size(side, 64, 64) == (padded, 64)
    assert padded_size(64, side, 64) == (64, padded)


@pytest.mark.parametrize("lead", [1, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 64), (64, 1), (64, 64), (65, 63), (70, 130)])
def test_the_padding_repeats_the_edge(height: int, width: int, lead: int) -> None:
    photo = np.asarray(_photo(height, width))

    planes = network_input(photo, 64, lead)

    rows, columns = padded_size(height, width, 64)
    top, left = lead_padding(height, width, lead)
    assert (top, left) == (0, 0) if lead == 1 else ((top + height) % 4, (left + width) % 4) == (0, 0)
    margins = ((top, rows - height - top), (left, columns - width - left), (0, 0))
    expected = np.pad(photo, margins, mode="edge")
    assert planes.dtype == np.float32
    assert np.array_equal(planes, (expected.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None])
