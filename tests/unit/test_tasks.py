"""Post-processing against plain, slow references written from the definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import (
    AnchorLevel,
    ClassificationParameters,
    DetectionParameters,
    Resize,
    SegmentationParameters,
    TaskInfo,
    ViewParameters,
)
from ptp_runtime.resample import linear_weights, resize_pixels, resized_shape
from ptp_runtime.tasks import Classification, Detections, Segmentation, View
from ptp_runtime.tasks.classification import classification_from_logits
from ptp_runtime.tasks.detection import (
    anchor_count,
    decode_boxes,
    detections_from_raw,
    grid_shape,
    level_anchors,
    nms,
)
from ptp_runtime.tasks.dispatch import output_from_head
from ptp_runtime.tasks.segmentation import segmentation_from_logits
from ptp_runtime.tasks.view import view_from_image

pytestmark = pytest.mark.runtime

CLASSES = ("background", "cat", "dog")


def _bilinear(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """One output pixel at a time, in double precision."""
    rows, columns = plane.shape
    out = np.empty((height, width))
    for y, x in itertools.product(range(height), range(width)):
        v = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
        u = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
        y0, x0 = int(v), int(u)
        y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
        a, b = v - y0, u - x0
        out[y, x] = (1 - a) * ((1 - b) * plane[y0, x0] + b * plane[y0, x1]) + a * (
            (1 - b) * plane[y1, x0] + b * plane[y1, x1]
        )
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    low=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    full=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_the_mask_is_the_argmax_of_the_resized_logits(seed: int, low: tuple[int, int], full: tuple[int, int]) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, *low)).astype(np.float32)

    mask = segmentation_from_logits(logits, *full, CLASSES).mask

    resized = np.stack([_bilinear(plane, *full) for plane in logits])
    best = resized.max(axis=0)
    chosen = np.take_along_axis(resized, mask[None].astype(np.int64), axis=0)[0]
    assert mask.shape == full
    assert mask.dtype == np.uint8
    # The kernel works in float32: where two classes are equal to within its rounding, either may win.
    assert (best - chosen).max() < 1e-5


def test_a_tie_goes_to_the_smaller_class() -> None:
    assert not segmentation_from_logits(np.zeros((3, 2, 2), np.float32), 5, 5, CLASSES).mask.any()


def test_shares_are_sorted_and_leave_out_what_is_absent() -> None:
    mask = np.array([[1, 1], [1, 0]], np.uint8)

    assert Segmentation(mask, CLASSES).shares() == {"cat": 0.75, "background": 0.25}
    assert list(Segmentation(mask, CLASSES).shares()) == ["cat", "background"]


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4, 4), (3, 4), (3, 0, 4)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="logits have another shape"):
        segmentation_from_logits(np.zeros(shape, np.float32), 8, 8, CLASSES)


@pytest.mark.parametrize(("length_out", "length_in"), [(1, 1), (7, 1), (16, 4), (5, 9), (4096, 256)])
def test_weights_stay_inside(length_out: int, length_in: int) -> None:
    first, second, weight = linear_weights(length_out, length_in)

    assert first.min() >= 0
    assert second.max() <= length_in - 1
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert weight.dtype == np.float32


@pytest.mark.parametrize(
    ("size", "resized"),
    [((400, 600), (800, 1200)), ((600, 400), (1200, 800)), ((100, 1000), (133, 1333)), ((1, 3000), (1, 1333))],
)
def test_a_declared_resize_follows_torchvision(size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert resized_shape(*size, Resize(800, 1333)) == resized


def test_resized_pixels_match_the_reference() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)

    resized = resize_pixels(photo, 20, 7)

    expected = np.stack([_bilinear(photo[:, :, c].astype(np.float64), 20, 7) for c in range(3)], axis=2)
    assert resized.dtype == np.float32
    assert np.abs(resized - expected).max() < 1e-3


def test_a_view_is_clipped_rounded_and_cropped() -> None:
    image = np.full((3, 8, 8), 0.5, np.float32)
    image[0, 0, 0], image[1, 0, 0], image[2, 0, 0] = -3.0, 7.0, 2.5 / 255

    view = view_from_image(image, (5, 6), (5, 6))

    assert view.image.shape == (5, 6, 3)
    assert view.image.dtype == np.uint8
    assert view.image[0, 0].tolist() == [0, 255, 2]
    assert view.image[4, 5].tolist() == [128, 128, 128]


def test_a_view_leaves_out_what_was_padded_before_the_photo() -> None:
    image = np.zeros((3, 8, 8), np.float32)
    image[:, 3:, 2:] = 1

    assert (view_from_image(image, (5, 6), (5, 6), (3, 2)).image == 255).all()
    with pytest.raises(EngineError, match="another shape"):
        view_from_image(image, (5, 7), (5, 7), (3, 2))


def test_a_view_returns_to_the_photos_size() -> None:
    assert view_from_image(np.zeros((3, 8, 8), np.float32), (5, 6), (10, 12)).image.shape == (10, 12, 3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 8), (3, 8, 4)])
def test_a_view_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="another shape"):
        view_from_image(np.zeros(shape, np.float32), (5, 6), (5, 6))


def test_anchors_of_one_cell() -> None:
    """Ratio outside, size inside; corners rounded to whole pixels, as torchvision rounds them."""
    anchors = level_anchors(8, 8, AnchorLevel(8, (32, 40)), (0.5, 1.0))

    assert anchors.tolist() == [[-23, -11, 23, 11], [-28, -14, 28, 14], [-16, -16, 16, 16], [-20, -20, 20, 20]]


def test_anchors_go_row_by_row() -> None:
    anchors = level_anchors(16, 24, AnchorLevel(8, (2,)), (1.0,))

    assert grid_shape(16, 24, AnchorLevel(8, (2,))) == (2, 3)
    # 16 pads to 32 and 24 to 32: the cells are 16 and 10 pixels apart, as torchvision would place them.
    assert anchors[:, :2].tolist() == [[-1, -1], [9, -1], [19, -1], [-1, 15], [9, 15], [19, 15]]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (320, 480), (544, 736)])
def test_fine_levels_have_their_nominal_stride(height: int, width: int) -> None:
    for level in DetectionParameters().levels[:3]:
        anchors = level_anchors(height, width, level, (1.0,))[:: len(level.sizes)]
        rows, columns = grid_shape(height, width, level)
        assert anchors[1, 0] - anchors[0, 0] == level.stride
        assert anchors[columns, 1] - anchors[0, 1] == level.stride
        assert len(anchors) == rows * columns


def test_boxes_are_decoded() -> None:
    anchors = np.array([[0, 0, 10, 20], [10, 10, 20, 20]], np.float32)
    deltas = np.array([[0, 0, 0, 0], [0.5, -0.5, math.log(2), math.log(0.5)]], np.float32)

    boxes = decode_boxes(deltas, anchors, (1.0, 1.0, 1.0, 1.0))

    assert np.allclose(boxes, [[0, 0, 10, 20], [10, 7.5, 30, 12.5]])


def test_an_exploding_box_is_bounded() -> None:
    boxes = decode_boxes(
        np.array([[0, 0, 1e9, 1e9]], np.float32), np.array([[0, 0, 16, 16]], np.float32), (1.0, 1.0, 1.0, 1.0)
    )

    assert np.allclose(boxes[0, 2] - boxes[0, 0], 1000)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    side = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = float(np.prod(np.maximum(side, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - inter
    return inter / union if union else 0.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30), count=st.integers(0, 40))
def test_suppression_keeps_the_best_and_drops_the_rest(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 30, (count, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32)

    kept = nms(boxes, scores, 0.5).tolist()

    expected: list[int] = []
    for i in np.argsort(-scores):
        if all(_overlap(boxes[i], boxes[j]) <= 0.5 for j in expected):
            expected.append(int(i))
    assert kept == expected


def test_boxes_without_area_do_not_suppress() -> None:
    boxes = np.array([[5, 5, 5, 5]] * 3, np.float32)

    assert nms(boxes, np.array([1, 3, 2], np.float32), 0.5).tolist() == [1, 2, 0]


SMALL = DetectionParameters(
    levels=(AnchorLevel(8, (16,)), AnchorLevel(16, (32,))),
    aspect_ratios=(1.0,),
    candidates_per_level=3,
    detections_per_image=4,
)


def _raw(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    count = anchor_count(height, width, SMALL)
    return np.full((count, 3), -10, np.float32), np.zeros((count, 4), np.float32)


def test_nothing_above_the_threshold_is_no_box() -> None:
    logits, deltas = _raw(32, 32)

    found = detections_from_raw(logits, deltas, (32, 32), (32, 32), SMALL, CLASSES)

    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert found.labels.dtype == np.int64


def test_a_box_is_found_clipped_and_scaled() -> None:
    logits, deltas = _raw(32, 32)
    logits[0, 1] = 3.0
    logits[1, 1] = 2.9  # overlaps the first by less than half
    logits[0, 2] = 1.0  # another class in the same place

    found = detections_from_raw(logits, deltas, (32, 32), (64, 96), SMALL, CLASSES)

    assert found.labels.tolist() == [1, 1, 2]
    assert np.allclose(found.scores, 1 / (1 + np.exp([-3.0, -2.9, -1.0])))
    # The anchor (-8, -8, 8, 8) cut at the border, then 3 times as wide and twice as high.
    assert found.boxes[0].tolist() == [0, 0, 24, 16]


def test_the_same_object_is_reported_once_a_class() -> None:
    logits, deltas = _raw(32, 32)
    logits[0:2, 1] = 3.0, 2.0
    deltas[1, 0] = -0.5  # moves the second anchor onto the first

    found = detections_from_raw(logits, deltas, (32, 32), (32, 32), SMALL, CLASSES)

    assert len(found.boxes) == 1
    assert found.scores[0] == pytest.approx(1 / (1 + math.exp(-3)))


def test_candidates_and_results_are_limited() -> None:
    logits, deltas = _raw(64, 64)
    logits[:, 1] = np.linspace(5, 4, len(logits))

    found = detections_from_raw(logits, deltas, (64, 64), (64, 64), SMALL, CLASSES)

    assert len(found.boxes) == SMALL.detections_per_image
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("wrong", ["anchors", "classes", "deltas"])
def test_raw_outputs_of_another_shape_are_refused(wrong: str) -> None:
    logits, deltas = _raw(32, 32)
    logits = logits[1:] if wrong == "anchors" else logits[:, 1:] if wrong == "classes" else logits
    deltas = deltas[1:] if wrong == "deltas" else deltas

    with pytest.raises(EngineError, match="another shape"):
        detections_from_raw(logits, deltas, (32, 32), (32, 32), SMALL, CLASSES)


def test_each_task_has_its_result() -> None:
    logits, deltas = _raw(32, 32)
    shapes = ((32, 32), (32, 32))

    seg = output_from_head(
        TaskInfo("seg", 1, CLASSES, SegmentationParameters()), {"logits": np.zeros((1, 3, 2, 2), np.float32)}, *shapes
    )
    det = output_from_head(
        TaskInfo("det", 2, CLASSES, SMALL), {"cls_logits": logits[None], "box_deltas": deltas[None]}, *shapes
    )
    view = output_from_head(
        TaskInfo("view", 0, (), ViewParameters()), {"image": np.zeros((1, 3, 32, 32), np.float32)}, *shapes
    )

    cls = output_from_head(
        TaskInfo("cls", 3, CLASSES, ClassificationParameters()), {"logits": np.zeros((1, 3), np.float32)}, *shapes
    )

    assert (type(seg), type(det), type(view), type(cls)) == (Segmentation, Detections, View, Classification)


def test_probabilities_are_the_softmax_and_the_best_come_first() -> None:
    names = ("a", "b", "c", "d")
    logits = np.array([0, 3, 5, 3], np.float32)

    found = classification_from_logits(logits, ClassificationParameters(top=3), names)

    expected = np.exp([0.0, 3.0, 5.0, 3.0]) / np.exp([0.0, 3.0, 5.0, 3.0]).sum()
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)
    assert found.probabilities.dtype == found.scores.dtype == np.float32
    assert found.labels.tolist() == [2, 1, 3], "the smaller number wins a tie"
    assert found.names == ("c", "b", "d")
    assert np.array_equal(found.scores, found.probabilities[found.labels])


@pytest.mark.parametrize("scale", [1e4, -1e4, 3e38])
def test_huge_logits_have_probabilities(scale: float) -> None:
    logits = np.array([1, 0.5, 1], np.float32) * np.float32(scale)
    found = classification_from_logits(logits, ClassificationParameters(), ("a", "b", "c"))
    assert found.probabilities.tolist() == ([0.5, 0, 0.5] if scale > 0 else [0, 1, 0])
    assert len(found.labels) == 3, "no more than there are"


@pytest.mark.parametrize("shape", [(), (2,), (3, 1), (4,)])
def test_another_number_of_classes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="another shape"):
        classification_from_logits(np.zeros(shape, np.float32), ClassificationParameters(), ("a", "b", "c"))


@pytest.mark.parametrize("raw", [{}, {"other": np.zeros((1, 3, 2, 2))}, {"logits": np.zeros((2, 3, 2, 2))}])
def test_a_missing_output_is_named(raw: dict[str, np.ndarray]) -> None:
    with pytest.raises(EngineError, match="no output 'logits'"):
        output_from_head(TaskInfo("seg", 1, CLASSES, SegmentationParameters()), raw, (8, 8), (8, 8))
