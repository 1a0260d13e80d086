"""What exchanging graphs of a codec does to its bits and to its task, on real photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_calibration import PhotoSet
from ptp_export.conversion.candidate import CandidateBackend
from ptp_export.evaluation.measures import Measure, measure_of
from ptp_export.evaluation.reference import Judge
from ptp_model.teachers import Teacher
from ptp_runtime.backends.onnxruntime_backend import OnnxRuntimeGraph
from ptp_runtime.bundle import Bundle
from ptp_runtime.session import Session
from ptp_runtime.tasks import Classification, Detections, Segmentation, TaskOutput, View


@dataclass(frozen=True)
class Damage:
    """Against the same codec with its own graphs.

    Attributes:
        bits: by what share the streams are longer; 0.01 is 1 %.
        metric: points of the task's figure that are lost, of 100: agreement with the teacher's answer to the
            uncompressed photo (top-1, mIoU, mAP), or decibels of the picture where the task is ``view``.
        answer: how far the outputs are from those of the codec's own graphs, from 0 to 1: the share of pixels of
            another class, the mean difference of class probabilities or of scores. It moves where the metric does not.
    """

    bits: float
    metric: float
    answer: float


@dataclass(frozen=True)
class _Case:
    """A photo at a rate, and what the codec makes of it with its own graphs."""

    photo: int
    rate: int
    data: bytes
    output: TaskOutput
    raw: Mapping[str, NDArray[Any]]


class TrialBench:
    """Weighs candidates.

    Args:
        bundle: with graphs in FP32.
        teacher: of its task; None for ``view``.
        photos: to weigh on; each is decoded once.
        rates: to code each photo at.

    Attributes:
        bytes: of all streams together, with the bundle's own graphs.
        figure: of the task, in points.
    """

    def __init__(self, bundle: Bundle, teacher: Teacher | None, photos: PhotoSet, rates: Sequence[int]) -> None:
        self._bundle = bundle
        self._kept: dict[str, OnnxRuntimeGraph] = {}
        self._pixels = [photo.image for photo in photos]
        self._score = _score_of(teacher, self._pixels)
        self._cases: list[_Case] = []
        with self._session({}) as session:
            for number, pixels in enumerate(self._pixels):
                for rate in rates:
                    data = session.encode(pixels, rate=rate)
                    decoded = session.decode_detailed(data, keep_steps=False)
                    raw = {name: decoded.tensors[name] for name in self._head_outputs}
                    self._cases.append(_Case(number, rate, data, decoded.output, raw))
        self.bytes = sum(len(case.data) for case in self._cases)
        self.figure = self._score.points([(case.photo, case.output) for case in self._cases])

    def damage(self, files: Mapping[str, bytes]) -> Damage:
        """Of a codec whose graphs of these names are these ONNX files.

        Where the analysis is not among them, the streams are the codec's own and are only decoded.
        """
        encoders = {graph.name for graph in self._bundle.manifest.graphs if graph.role == "analysis"}
        encodes = bool(encoders & set(files))
        size, answers, outputs = 0, [], []
        with self._session(files) as session:
            for case in self._cases:
                data = session.encode(self._pixels[case.photo], rate=case.rate) if encodes else case.data
                decoded = session.decode_detailed(data, keep_steps=False)
                size += len(data)
                outputs.append((case.photo, decoded.output))
                answers.append(_distance(decoded.output, decoded.tensors, case))
        return Damage(size / self.bytes - 1, self.figure - self._score.points(outputs), float(np.mean(answers)))

    @property
    def _head_outputs(self) -> list[str]:
        return [tensor.name for tensor in self._bundle.manifest.graph_of_role("head").outputs]

    def _session(self, files: Mapping[str, bytes]) -> Session:
        return Session.open(self._bundle, backend=CandidateBackend(files, self._kept))


class _TaskScore:
    """Agreement with the teacher's answers to the uncompressed photos."""

    def __init__(self, judge: Judge, measure: Measure, pixels: Sequence[NDArray[np.uint8]]) -> None:
        self._measure = measure
        self._answers = [judge.answer(judge.coded(photo), (photo.shape[0], photo.shape[1])).output for photo in pixels]

    def points(self, outputs: Sequence[tuple[int, TaskOutput]]) -> float:
        records = [self._measure.record(output, self._answers[photo], None) for photo, output in outputs]
        counts = np.ones((1, len(records)), np.int64)
        return 100 * self._measure.summary(records, counts)[self._measure.fidelity].value


class _PictureScore:
    """Decibels of the pictures against the photos."""

    def __init__(self, pixels: Sequence[NDArray[np.uint8]]) -> None:
        self._pixels = pixels

    def points(self, outputs: Sequence[tuple[int, TaskOutput]]) -> float:
        errors = [
            np.mean((output.image.astype(np.float64) - self._pixels[photo]) ** 2)
            for photo, output in outputs
            if isinstance(output, View)
        ]
        return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-9))))


def _score_of(teacher: Teacher | None, pixels: Sequence[NDArray[np.uint8]]) -> _TaskScore | _PictureScore:
    if teacher is None:
        return _PictureScore(pixels)
    judge = Judge(teacher)
    return _TaskScore(judge, measure_of(teacher.spec.task, judge.classes), pixels)


def _distance(output: TaskOutput, raw: Mapping[str, NDArray[Any]], own: _Case) -> float:
    """See :attr:`Damage.answer`."""
    if isinstance(output, Segmentation) and isinstance(own.output, Segmentation):
        return float(np.mean(output.mask != own.output.mask))
    if isinstance(output, Classification) and isinstance(own.output, Classification):
        return float(np.abs(output.probabilities - own.output.probabilities).sum() / 2)
    if isinstance(output, Detections):
        ours, theirs = (_sigmoid(tensors["cls_logits"]) for tensors in (raw, own.raw))
        # Nearly all anchors see nothing in either: only those that see something count.
        seen = np.maximum(ours, theirs).max(-1) > 0.05
        return float(np.abs(ours - theirs).max(-1)[seen].mean()) if seen.any() else 0.0
    if isinstance(output, View) and isinstance(own.output, View):
        difference = output.image.astype(np.float64) - own.output.image
        return float(np.sqrt(np.mean(difference**2)) / 255)
    raise TypeError(f"no way to compare {type(output).__name__}")


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    probability: NDArray[Any] = 1 / (1 + np.exp(-x.astype(np.float64)))
    return probability
