"""Palette, mask files and the picture beside the photo."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ptp_runtime.overlay import LARGEST_PANEL, overlay
from ptp_runtime.palette import png_from_mask, voc_palette
from ptp_runtime.tasks import Classification, Detections, Segmentation, TaskOutput, View

pytestmark = pytest.mark.runtime

CLASSES = ("background", "cat", "dog")


def test_the_palette_is_the_devkits() -> None:
    """From VOClabelcolormap: background, aeroplane, bicycle, cat, person, tv monitor and the void colour."""
    palette = voc_palette()

    expected = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {number: tuple(palette[number].tolist()) for number in expected} == expected
    assert len({tuple(colour) for colour in palette.tolist()}) == 256


def test_a_mask_file_holds_the_class_numbers() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3

    with Image.open(io.BytesIO(png_from_mask(mask))) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), mask)
        assert np.array_equal(np.asarray(image.convert("RGB")), voc_palette()[mask])


def _output(kind: str, height: int, width: int) -> TaskOutput:
    if kind == "seg":
        mask = np.zeros((height, width), np.uint8)
        mask[height // 2 :] = 1
        return Segmentation(mask, CLASSES)
    if kind == "det":
        boxes = np.array([[0, 0, width / 2, height / 2], [0, 0, 1, 1]], np.float32)
        return Detections(boxes, np.array([0.9, 0.1], np.float32), np.array([1, 2]), CLASSES)
    if kind == "cls":
        probabilities = np.array([0.1, 0.7, 0.2], np.float32)
        return Classification(np.array([1, 2]), probabilities[1:], probabilities, CLASSES)
    return View(np.full((height, width, 3), 9, np.uint8))


@pytest.mark.parametrize("kind", ["seg", "det", "cls", "view"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (4096, 1), (70, 90), (300, 451), (2000, 1500)])
def test_every_size_has_a_picture(kind: str, size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 200, np.uint8)

    image = overlay(photo, _output(kind, *size), ["100 bytes"])

    assert image.mode == "RGB"
    assert image.width <= 2 * LARGEST_PANEL + 24
    assert image.height <= LARGEST_PANEL + 200


def test_background_stays_and_classes_are_coloured() -> None:
    photo = np.full((300, 400, 3), 200, np.uint8)

    image = np.asarray(overlay(photo, _output("seg", 300, 400), []))

    right = image[8:308, 16 + 400 : 16 + 800]
    assert (right[:149] == 200).all()
    assert (right[149:151] == 255).all(), "no line where the classes meet"
    assert np.array_equal(right[200, 200], np.rint(200 * 0.45 + np.array([191, 0, 0]) * 0.55))


def test_a_weak_box_is_not_drawn() -> None:
    photo = np.full((300, 400, 3), 200, np.uint8)
    strong = Detections(np.array([[50, 50, 200, 200]], np.float32), np.array([0.9], np.float32), np.array([1]), CLASSES)
    weak = Detections(strong.boxes, np.array([0.2], np.float32), strong.labels, CLASSES)

    drawn, blank = (np.asarray(overlay(photo, output, []))[8:308, 416:816] for output in (strong, weak))

    assert np.array_equal(drawn[100, 50], [191, 0, 0])
    assert (blank == 200).all()


def test_a_classs_bar_is_as_long_as_it_is_likely() -> None:
    photo = np.full((300, 400, 3), 200, np.uint8)

    panel = np.asarray(overlay(photo, _output("cls", 300, 400), []))[8:308, 416:816]

    assert (panel[:256] == 200).all()
    for bar, length in ((panel[256 + 4], 0.7), (panel[278 + 4], 0.2)):
        filled = np.flatnonzero((bar != 20).any(axis=1) & (bar != 255).any(axis=1))
        assert filled.max() == round(length * 399)
