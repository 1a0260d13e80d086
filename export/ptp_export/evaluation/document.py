"""The results as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_export.evaluation.comparison import delta_rates
from ptp_export.evaluation.curves.bjontegaard import DeltaRate
from ptp_export.evaluation.curves.bootstrap import RESAMPLES, Estimate
from ptp_export.evaluation.earlier import EarlierRivals
from ptp_export.evaluation.environment import environment
from ptp_export.evaluation.evaluate import BACKGROUND, Evaluation, Harness, Point
from ptp_export.evaluation.photo_list import PhotoList
from ptp_export.evaluation.subject import Subject, teacher_sha256

SCHEMA = 1

#: A class that fewer labelled photographs show than this has no figure worth its name.
FEW_PHOTOS = 10


@dataclass(frozen=True)
class Request:
    """What was asked for, as far as figures depend on it.

    Attributes:
        source: bundle or checkpoint.
        threads: of CPU; 0: the libraries' choice.
        seed: of the bootstrap.
        earlier: whose figures of rivals stand beside what was measured.
    """

    source: str
    threads: int
    seed: int
    earlier: EarlierRivals | None = None


def document(
    request: Request, subject: Subject, photos: PhotoList, harness: Harness, found: Evaluation
) -> dict[str, Any]:
    """Everything, with what it was measured on; NaN becomes null."""
    measure, earlier = harness.measure, request.earlier
    found = found if earlier is None else earlier.beside(found)
    return {
        "schema": SCHEMA,
        "title": subject.title,
        # A name, not a path: results are shown to others, who have no such folder.
        "source": Path(request.source).name,
        "task": subject.session.manifest.task.name,
        "checkpoint_sha256": subject.checkpoint_sha256,
        "teacher_sha256": teacher_sha256(subject.teacher),
        "names": {"metric": measure.metric or None, "fidelity": measure.fidelity, "figures": dict(measure.words)},
        "points": [_point(point, harness) for point in found.points],
        "teacher_metric": _number(found.teacher[measure.metric].value) if measure.metric in found.teacher else None,
        "teacher_figures": {name: _estimate(value) for name, value in found.teacher.items()},
        "bd_rate": {
            rival: {name: _delta(value) for name, value in figures.items()}
            for rival, figures in delta_rates(found.points).items()
        },
        "photos": _photos(photos, found),
        "photos_from": photos.source,
        "classes": found.classes,
        "notes": notes(photos, found.classes, measure.metric in found.teacher),
        "bootstrap": {"resamples": RESAMPLES, "seed": request.seed, "level": 0.95},
        "codecs": {codec.name: codec.settings for codec in harness.rivals}
        | ({} if earlier is None else dict(earlier.codecs)),
        "environment": environment(request.threads),
        "rivals_environment": None if earlier is None else dict(earlier.environment),
    }


def notes(photos: PhotoList, classes: Mapping[str, Mapping[str, int]], labelled: bool) -> list[str]:
    """What a reader must know before believing a figure, a sentence each."""
    found = []
    count = len(photos.photos)
    if count < FEW_PHOTOS * 2:
        found.append(f"{count} photographs are too few for a statement about a codec; they show that everything works.")
    learned = sum(photo.learned_from for photo in photos.photos)
    if learned:
        found.append(f"{learned} of {count} photographs may have been learned from: the figures flatter our codec.")
    if labelled:
        classes = {name: sides for name, sides in classes.items() if name != BACKGROUND}
        shown = {name: sides["labels"] for name, sides in classes.items() if sides["labels"]}
        rare = [f"{name} ({number})" for name, number in shown.items() if number < FEW_PHOTOS]
        missing = [name for name, sides in classes.items() if not sides["labels"]]
        if rare:
            found.append(f"Too few labelled photographs (under {FEW_PHOTOS}) show: {', '.join(rare)}.")
        if missing and len(missing) < len(classes):
            found.append(f"No labelled photograph shows: {', '.join(missing)}.")
    return found


def _point(point: Point, harness: Harness) -> dict[str, Any]:
    measure = harness.measure
    metric, fidelity = point.figures.get(measure.metric), point.figures[measure.fidelity]
    intervals = {"bpp": point.bpp, "fidelity": fidelity, "feature_error": point.feature_error}
    intervals |= {} if metric is None else {"metric": metric}
    return {
        "codec": point.setting.codec,
        "rate": point.setting.rate,
        "bpp": _number(point.bpp.value),
        "metric": None if metric is None else _number(metric.value),
        "fidelity": _number(fidelity.value),
        "feature_error": _number(point.feature_error.value),
        "intervals": {name: [_number(value.low), _number(value.high)] for name, value in intervals.items()},
        "figures": {name: _estimate(value) for name, value in point.figures.items()},
    }


def _photos(photos: PhotoList, found: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for k, photo in enumerate(photos.photos):
        sizes: dict[str, dict[str, int]] = {}
        for setting, bytes_of in found.sizes.items():
            sizes.setdefault(setting.codec, {})[str(setting.rate)] = bytes_of[k]
        labelled = photo.mask is not None or photo.boxes is not None
        rows.append({"name": photo.name, "labelled": labelled, "learned_from": photo.learned_from, "bytes": sizes})
    return rows


def _estimate(value: Estimate) -> dict[str, float | None]:
    return {"value": _number(value.value), "low": _number(value.low), "high": _number(value.high)}


def _delta(value: DeltaRate) -> dict[str, Any]:
    return {
        "percent": None if value.percent is None else _number(value.percent),
        "reason": value.reason or None,
        "range": [_number(value.low), _number(value.high)],
        "at_one_rate": value.at_one_rate,
        "unsteady": value.unsteady,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
