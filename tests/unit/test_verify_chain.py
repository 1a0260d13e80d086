"""The quantities of the whole chain: each sees the difference it is for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ptp_export.oracle.graph_sample import GraphSample
from ptp_export.verify.chain import _disagreement, _round_trip_errors, _symbols
from ptp_runtime.latents import Latents, StepRecord
from ptp_runtime.manifest import ScheduleEntry
from ptp_runtime.tasks import Classification, Detections, Segmentation, View

RNG = np.random.default_rng(2)


def _latents() -> Latents:
    """Two checkerboard halves of four channels on a latent of 4 x 6."""
    halves = []
    parity = (np.arange(4)[:, None] + np.arange(6)) % 2
    for half in (0, 1):
        symbols = RNG.integers(-3, 4, (4, 4, 6), dtype=np.int32) * (parity == half)
        halves.append(StepRecord(symbols, np.full((4, 4, 6), 9, np.uint8), np.full((4, 4, 6), -5, np.int16)))
    z = RNG.integers(-2, 3, (3, 1, 2), dtype=np.int32)
    return Latents(z, np.zeros((1, 4, 4, 6), np.float32), {}, tuple(halves))


def _copied(latents: Latents) -> Latents:
    steps = tuple(StepRecord(s.symbols.copy(), s.index.copy(), s.mean.copy()) for s in latents.steps)
    return Latents(latents.z.copy(), latents.y_int.copy(), {}, steps)


@pytest.mark.parametrize("place", ["z", "y_int", "symbols", "index", "mean"])
def test_one_value_that_changed_on_the_way_is_seen(place: str) -> None:
    sent = _latents()
    received = _copied(sent)
    assert _round_trip_errors(sent, received) == 0
    array = getattr(received, place, None)
    array = getattr(received.steps[1], place) if array is None else array
    array.flat[3] += 1
    assert _round_trip_errors(sent, received) == 1


def test_symbols_of_all_steps_come_to_their_places() -> None:
    latents = _latents()
    steps = (ScheduleEntry("a", (0, 4), "anchor"), ScheduleEntry("b", (0, 4), "nonanchor"))
    manifest: Any = SimpleNamespace(entropy=SimpleNamespace(schedule=steps))
    expected = latents.steps[0].symbols + latents.steps[1].symbols
    np.testing.assert_array_equal(_symbols(latents, manifest), expected)


def _compared(output: Any, found: dict[str, Any], expected: dict[str, Any], shape: tuple[int, int]) -> float:
    decoded: Any = SimpleNamespace(output=output, tensors=found)
    run: Any = SimpleNamespace(graphs={"head": GraphSample({}, expected)})
    return _disagreement(decoded, run, shape)


def test_masks_disagree_by_the_share_of_their_pixels() -> None:
    logits = np.zeros((1, 3, 2, 2), np.float32)
    logits[:, 1] = 1
    mask = np.ones((8, 10), np.uint8)
    assert _compared(Segmentation(mask, ("a", "b", "c")), {}, {"logits": logits}, (8, 10)) == 0
    mask[:2, :2] = 2
    assert _compared(Segmentation(mask, ("a", "b", "c")), {}, {"logits": logits}, (8, 10)) == pytest.approx(4 / 80)


def test_detections_disagree_by_their_probabilities() -> None:
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("a",))
    expected = {"cls_logits": np.zeros((1, 5, 2), np.float32)}
    found = {"cls_logits": np.zeros((1, 5, 2), np.float32)}
    assert _compared(none, found, expected, (8, 8)) == 0
    found["cls_logits"][0, 3, 1] = 50
    assert _compared(none, found, expected, (8, 8)) == pytest.approx(0.5)


def test_classes_disagree_by_their_probabilities() -> None:
    sure = np.array([0.5, 0.5, 0.0], np.float32)
    answer = Classification(np.array([0]), sure[:1], sure, ("a", "b", "c"))
    assert _compared(answer, {}, {"logits": np.array([[3, 3, -90]], np.float32)}, (8, 8)) == pytest.approx(0)
    assert _compared(answer, {}, {"logits": np.array([[90, 3, 3]], np.float32)}, (8, 8)) == pytest.approx(0.5)


def test_pictures_disagree_by_what_can_be_seen() -> None:
    shown = View(np.zeros((8, 8, 3), np.uint8))
    expected = {"image": np.full((1, 3, 8, 8), 0.9, np.float32)}
    assert _compared(shown, {"image": np.full((1, 3, 8, 8), 0.8, np.float32)}, expected, (8, 8)) == pytest.approx(0.1)
    white = {"image": np.full((1, 3, 8, 8), 1.0, np.float32)}
    assert _compared(shown, {"image": np.full((1, 3, 8, 8), 7.0, np.float32)}, white, (8, 8)) == 0
