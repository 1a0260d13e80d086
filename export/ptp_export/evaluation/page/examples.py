"""A few photographs side by side: the teacher's answer, ours, and the best rival's at no fewer bytes than ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_export.evaluation.evaluate import OURS, Evaluation, Harness, Setting, eight_bits
from ptp_export.evaluation.feature_codecs import RivalFeatureCodec
from ptp_export.evaluation.image_codecs.protocol import quality_for
from ptp_export.evaluation.page.pictures import colour, data_uri
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_export.evaluation.tables import HEADINGS
from ptp_runtime.tasks import Segmentation, TaskOutput

#: Which photographs: by our fidelity, from worst (0) to best (1).
RANKS = ((0.25, "lower quartile"), (0.5, "median"), (0.75, "upper quartile"))


@dataclass(frozen=True)
class Panel:
    """One picture and the words below it."""

    source: str
    caption: str


@dataclass(frozen=True)
class Example:
    """One photograph.

    Attributes:
        title: its name and why it was chosen.
        panels: photograph, teacher, ours, the best rival.
        legend: classes of the masks that the teacher or our codec shows, and their CSS colours.
    """

    title: str
    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, str], ...] = ()


def examples(harness: Harness, photos: Sequence[EvaluationPhoto], found: Evaluation) -> list[Example]:
    """Photographs at the quartiles of our fidelity at the middle rate, so that nobody picks the pretty ones."""
    rates = harness.rates
    setting = Setting(OURS, rates[len(rates) // 2])
    scores = found.fidelity[setting]
    order = [k for k in np.argsort(scores, kind="stable") if found.interesting[k] and not np.isnan(scores[k])]
    chosen: dict[int, str] = {}
    for share, words in RANKS[: len(order)]:
        chosen.setdefault(int(order[round(share * (len(order) - 1))]), words)
    return [_example(harness, photos[k], setting, words) for k, words in chosen.items()]


def _example(harness: Harness, photo: EvaluationPhoto, setting: Setting, words: str) -> Example:
    pixels = photo.pixels()
    size = (pixels.shape[0], pixels.shape[1])
    coded = harness.judge.coded(pixels)
    shown = eight_bits(coded)
    truth = harness.judge.answer(coded, size).output
    count, ours = harness.code(setting, pixels, coded)
    panels = [
        Panel(data_uri(shown, None), f"photo, {shown.shape[1]}×{shown.shape[0]} pixels"),
        Panel(data_uri(shown, truth), "the teacher on the uncompressed photo"),
        Panel(data_uri(shown, ours.output), f"<b>ours</b>: {_figures(harness, ours.output, truth, count)}"),
    ]
    found = []
    for rival in harness.feature_codecs:
        quality, spent, answer = _affordable(harness, rival, pixels, coded, count)
        found.append((f"<b>{rival.name}</b> at rate {quality}", spent, shown, answer))
    for codec in harness.codecs:
        quality, data = quality_for(codec, shown, count)
        picture = codec.decode(data)
        answer = harness.judge.answer(picture, size).output
        found.append((f"<b>{codec.name}</b> at quality {quality}", codec.counted(data), picture, answer))
    rivals: list[tuple[float, Panel]] = []
    for name, spent, picture, answer in found:
        caption = f"{name}: {_figures(harness, answer, truth, spent)}" + ("; the best rival here" if found[1:] else "")
        score = harness.fidelity(harness.measure.record(answer, truth, None))
        rivals.append((score, Panel(data_uri(picture, answer), caption)))
    if rivals:
        panels.append(max(rivals, key=lambda pair: pair[0])[1])
    return Example(f"{photo.name} ({words} of our fidelity)", tuple(panels), _legend(truth, ours.output))


def _affordable(
    harness: Harness, rival: RivalFeatureCodec, pixels: NDArray[np.uint8], coded: NDArray[Any], size_bytes: int
) -> tuple[int, int, TaskOutput]:
    """The lowest rate whose bytes are not fewer than these, or else the highest: its number, bytes and output."""
    for quality in rival.qualities:
        spent, answer = harness.code(Setting(rival.name, quality), pixels, coded)
        if spent >= size_bytes:
            break
    return quality, spent, answer.output


def _legend(*outputs: TaskOutput) -> tuple[tuple[str, str], ...]:
    masks = [output for output in outputs if isinstance(output, Segmentation)]
    shown = sorted({int(label) for output in masks for label in np.unique(output.mask)} - {0})
    return tuple((masks[0].classes[label], "#{:02x}{:02x}{:02x}".format(*colour(label))) for label in shown)


def _figures(harness: Harness, output: TaskOutput, truth: TaskOutput, count: int) -> str:
    record: Any = harness.measure.record(output, truth, None)
    return f"{count:,} bytes, {harness.fidelity(record):.3f} {HEADINGS[harness.measure.fidelity]}"
