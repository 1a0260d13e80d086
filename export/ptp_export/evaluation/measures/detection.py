"""Boxes against the teacher's and against COCO's labels, by ``pycocotools``. The only file that needs it here."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_export.evaluation.curves.bootstrap import Estimate, estimate
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_runtime.errors import MissingExtraError
from ptp_runtime.tasks import Detections, TaskOutput

#: The teacher's boxes with at least this score are the truth; below it are guesses that nobody is shown.
TEACHER_SCORE = 0.3
#: An average precision is dear to compute: this many resamples for its interval.
RESAMPLES = 200

Note = dict[str, Any]


@dataclass(frozen=True)
class DetectionRecord:
    """One photograph.

    Attributes:
        found: the codec's boxes, as COCO's results.
        teacher: the teacher's, as COCO's annotations.
        labels: COCO's own annotations; None without labels.
    """

    found: tuple[Note, ...]
    teacher: tuple[Note, ...]
    labels: tuple[Note, ...] | None


class DetectionMeasure:
    """COCO's mAP (IoU 0.5 to 0.95, 100 boxes a photograph) and AP50.

    Args:
        classes: names by class number, which is COCO's category id.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """

    fidelity = "teacher_map"
    metric = "map"
    words = {  # noqa: RUF012  # the protocol's; nothing writes to it
        "teacher_map": f"mAP with the teacher's boxes of score {TEACHER_SCORE} or more",
        "teacher_ap50": f"AP50 with the teacher's boxes of score {TEACHER_SCORE} or more",
        "map": "mAP with COCO's labels",
        "ap50": "AP50 with COCO's labels",
    }

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        _library()

    def labels(self, photo: EvaluationPhoto) -> tuple[Note, ...] | None:
        """The photograph's annotations."""
        return photo.boxes

    def record(self, output: TaskOutput, teacher: TaskOutput, labels: tuple[Note, ...] | None) -> DetectionRecord:
        """See the protocol; both outputs are :class:`~ptp_runtime.tasks.Detections`."""
        if not isinstance(output, Detections) or not isinstance(teacher, Detections):
            raise TypeError(f"expected boxes, got {type(output).__name__} and {type(teacher).__name__}")
        sure = [note for note in _notes(teacher) if note["score"] >= TEACHER_SCORE]
        truth = tuple({**note, "iscrowd": 0, "area": note["bbox"][2] * note["bbox"][3]} for note in sure)
        return DetectionRecord(tuple(_notes(output)), truth, labels)

    def summary(self, records: Sequence[DetectionRecord], counts: NDArray[np.int64]) -> dict[str, Estimate]:
        """See the protocol."""
        found = {}
        own = AveragePrecision([(record.found, record.teacher) for record in records])
        for name, part in (("teacher_map", own.mean), ("teacher_ap50", own.at_half)):
            found[name] = estimate(part, counts, RESAMPLES)
        # A photograph without labels is one of which nothing is known: it takes no part.
        labelled = [k for k, record in enumerate(records) if record.labels is not None]
        if labelled:
            theirs = AveragePrecision([(records[k].found, records[k].labels or ()) for k in labelled])
            for name, part in (("map", theirs.mean), ("ap50", theirs.at_half)):
                found[name] = estimate(part, counts[:, labelled], RESAMPLES)
        return found

    def photos_of_classes(self, records: Sequence[DetectionRecord]) -> dict[str, dict[str, int]]:
        """See the protocol."""
        shown: dict[str, dict[str, int]] = {}
        for record in records:
            for side, notes in (("teacher", record.teacher), ("labels", record.labels or ())):
                for label in {int(note["category_id"]) for note in notes}:
                    entry = shown.setdefault(self._classes[label], {"teacher": 0, "labels": 0})
                    entry[side] += 1
        return dict(sorted(shown.items()))


class AveragePrecision:
    """COCO's evaluation of a set of photographs, which can be repeated on resamples of it.

    Boxes are matched once, photograph by photograph; a resample only gathers the matches anew.

    Args:
        photos: per photograph, found boxes (with ``score``) and true ones (with ``area`` and ``iscrowd``).
    """

    def __init__(self, photos: Sequence[tuple[Sequence[Note], Sequence[Note]]]) -> None:
        truth = [{**note, "image_id": k, "ignore": 0} for k, (_, notes) in enumerate(photos, 1) for note in notes]
        found = [{**note, "image_id": k} for k, (notes, _) in enumerate(photos, 1) for note in notes]
        self._photos = len(photos)
        self._empty = not any(not note.get("iscrowd", 0) for note in truth)
        self._cache: dict[bytes, tuple[float, float]] = {}
        if not self._empty:
            self._evaluation = _matched(truth, found, self._photos)
            self._matches = np.array(self._evaluation.evalImgs, dtype=object).reshape(-1, self._photos)

    def mean(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """mAP for each resample, int64 [n, photos] → [n]; NaN where no photograph has a box."""
        return np.array([self._figures(row)[0] for row in counts])

    def at_half(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """AP50, likewise."""
        return np.array([self._figures(row)[1] for row in counts])

    def _figures(self, counts: NDArray[np.int64]) -> tuple[float, float]:
        key = counts.tobytes()
        if self._empty or not counts.any():
            return float("nan"), float("nan")
        if key not in self._cache:
            chosen = np.repeat(np.arange(self._photos), counts)
            evaluation = self._evaluation
            evaluation.evalImgs = list(self._matches[:, chosen].ravel())
            evaluation.params.imgIds = evaluation._paramsEval.imgIds = list(range(1, len(chosen) + 1))
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation.accumulate()
            precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [IoU, recall, class]; -1 where no box is true
            self._cache[key] = _mean(precision), _mean(precision[:1])
        return self._cache[key]


def _mean(precision: NDArray[np.float64]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _matched(truth: list[Note], found: list[Note], photos: int) -> Any:
    """A ``COCOeval`` after the matching of boxes, for all areas together."""
    COCO, COCOeval = _library()
    categories = sorted({int(note["category_id"]) for note in truth})
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for notes in (truth, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": k} for k in range(1, photos + 1)],
                "categories": [{"id": category} for category in categories],
                "annotations": [{**note, "id": number} for number, note in enumerate(notes, 1)],
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iouType="bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.params.catIds = categories
        evaluation.evaluate()
    return evaluation


def _notes(output: Detections) -> list[Note]:
    """Boxes in COCO's words: left, top, width, height."""
    notes = []
    for box, score, label in zip(output.boxes, output.scores, output.labels, strict=True):
        left, top, right, bottom = (float(value) for value in box)
        width, height = right - left, bottom - top
        size = {"bbox": [left, top, width, height], "area": width * height, "iscrowd": 0}
        notes.append({"category_id": int(label), "score": float(score), **size})
    return notes


def _library() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError(
            "average precision needs pycocotools",
            expected="the package pycocotools",
            got=str(error),
            hint="pip install 'ptp-deploy[eval]'",
        ) from error
    return COCO, COCOeval
