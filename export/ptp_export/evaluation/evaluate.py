"""The evaluation itself: every photograph through every codec at every rate, judged by one teacher."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ptp_export.evaluation.curves.bootstrap import Estimate, draws, mean_estimate
from ptp_export.evaluation.feature_codecs import RivalFeatureCodec
from ptp_export.evaluation.fidelity import feature_error
from ptp_export.evaluation.image_codecs import ImageCodec
from ptp_export.evaluation.measures import Measure
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_export.evaluation.reference import Answer, Judge
from ptp_runtime.errors import UsageError
from ptp_runtime.session import Session

OURS = "ptp"

#: Name of the class of pixels that show nothing.
BACKGROUND = "__background__"


class Watcher(Protocol):
    """Told about progress."""

    def advanced(self, photo: str, codec: str) -> None:
        """One codec is done with one photograph, at one rate."""


@dataclass(frozen=True)
class Setting:
    """A codec at one rate: ours by number of the rate, a rival by its quality."""

    codec: str
    rate: int


@dataclass(frozen=True)
class Point:
    """A codec at one rate, over all photographs.

    Attributes:
        setting: which.
        bpp: bits of the real bytes over the pixels given to the codec, mean of photographs.
        feature_error: ‖h - ĥ‖² / ‖h - mean(h)‖², mean of photographs.
        figures: of the task's measure, by name.
    """

    setting: Setting
    bpp: Estimate
    feature_error: Estimate
    figures: dict[str, Estimate]


@dataclass(frozen=True)
class Evaluation:
    """All that was found.

    Attributes:
        points: ours first, each codec from few bytes to many.
        teacher: the uncompressed photographs' figures against labels, by name.
        classes: see :meth:`Measure.photos_of_classes`.
        sizes: bytes per photograph, by setting.
        fidelity: the first figure against the teacher of each photograph alone, by setting of ours.
        interesting: whether the teacher sees anything but background, per photograph.
    """

    points: tuple[Point, ...]
    teacher: dict[str, Estimate]
    classes: dict[str, dict[str, int]]
    sizes: dict[Setting, tuple[int, ...]]
    fidelity: dict[Setting, tuple[float, ...]]
    interesting: tuple[bool, ...]


@dataclass
class _Column:
    """What one setting gave, photograph by photograph."""

    sizes: list[int] = field(default_factory=list)
    bpp: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Harness:
    """The codecs, and the judge of all of them.

    Attributes:
        session: ours.
        rates: of ours, from few bits to many.
        codecs: the rivals that code pictures.
        judge: the teacher.
        measure: of its task.
        threads: how many of the rivals' settings are coded and judged at once, each on one core.
        feature_codecs: the rivals that code features.
    """

    session: Session
    rates: tuple[int, ...]
    codecs: tuple[ImageCodec, ...]
    judge: Judge
    measure: Measure
    threads: int = 1
    feature_codecs: tuple[RivalFeatureCodec, ...] = ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All codecs at all rates."""
        ours = [Setting(OURS, rate) for rate in self.rates]
        return (*ours, *(Setting(codec.name, quality) for codec in self.rivals for quality in codec.qualities))

    @property
    def rivals(self) -> tuple[ImageCodec | RivalFeatureCodec, ...]:
        """All of them, those that are most like ours first."""
        return (*self.feature_codecs, *self.codecs)

    def run(self, photos: Sequence[EvaluationPhoto], seed: int, watcher: Watcher) -> Evaluation:
        """Evaluate.

        Args:
            photos: at least one.
            seed: of the bootstrap.
            watcher: told about every photograph, codec and rate.

        Raises:
            ImageError: a photograph cannot be used.
            UsageError: the bundle does not take a photograph's size.
        """
        columns = {setting: _Column() for setting in self.settings}
        uncompressed: list[Any] = []
        with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for photo in photos:
                self._photo(photo, columns, uncompressed, pool, watcher)
        counts = draws(len(photos), seed)
        teacher = {
            name: value for name, value in self.measure.summary(uncompressed, counts).items() if _of_labels(name)
        }
        return Evaluation(
            points=tuple(self._point(setting, column, counts) for setting, column in columns.items()),
            teacher=teacher,
            classes=self.measure.photos_of_classes(uncompressed),
            sizes={setting: tuple(column.sizes) for setting, column in columns.items()},
            fidelity={
                setting: tuple(self.fidelity(record) for record in column.records)
                for setting, column in columns.items()
                if setting.codec == OURS
            },
            interesting=tuple(self._interesting(record) for record in uncompressed),
        )

    def _photo(
        self,
        photo: EvaluationPhoto,
        columns: dict[Setting, _Column],
        uncompressed: list[Any],
        pool: ThreadPoolExecutor,
        watcher: Watcher,
    ) -> None:
        """One photograph through every setting; ours one after another here, while the pool does the rivals'."""
        pixels, labels = photo.pixels(), self.measure.labels(photo)
        coded, size = self.judge.coded(pixels), (pixels.shape[0], pixels.shape[1])
        answer = self.judge.answer(coded, size)
        uncompressed.append(self.measure.record(answer.output, answer.output, labels))
        rivals = {s: pool.submit(self.code, s, pixels, coded) for s in columns if s.codec != OURS}
        for setting, column in columns.items():
            count, found = rivals[setting].result() if setting in rivals else self.code(setting, pixels, coded)
            column.sizes.append(count)
            column.bpp.append(8 * count / (coded.shape[0] * coded.shape[1]))
            column.errors.append(feature_error(answer.h, found.h))
            column.records.append(self.measure.record(found.output, answer.output, labels))
            watcher.advanced(photo.name, setting.codec)

    def fidelity(self, record: Any) -> float:
        """The measure's first figure against the teacher, of one photograph's record."""
        return self.measure.summary([record], np.ones((1, 1), np.int64))[self.measure.fidelity].value

    def _interesting(self, record: Any) -> bool:
        shown = self.measure.photos_of_classes([record])
        return any(sides["teacher"] for name, sides in shown.items() if name != BACKGROUND)

    def code(self, setting: Setting, pixels: NDArray[np.uint8], coded: NDArray[Any]) -> tuple[int, Answer]:
        """One photograph through one codec: the bytes it took, and what the task made of them.

        Args:
            setting: codec and rate.
            pixels: the photograph, uint8 [H, W, 3]; our session does what the teacher declares itself.
            coded: the same after that, which a codec for pictures gets rounded to 8 bits.
        """
        size = (pixels.shape[0], pixels.shape[1])
        if setting.codec == OURS:
            encoded = self.session.encode_detailed(pixels, rate=setting.rate, keep_steps=False)
            decoded = self.session.decode_detailed(encoded.data, keep_steps=False)
            return len(encoded.data), Answer(decoded.tensors["h"], decoded.output)
        for student in self.feature_codecs:
            if student.name == setting.codec:
                coded_size = (coded.shape[0], coded.shape[1])
                data = student.encode(coded, setting.rate)
                h = student.decode(data, coded_size, setting.rate)
                return len(data), self.judge.answer_to(h, coded_size, size)
        codec = self.codec(setting.codec)
        data = codec.encode(eight_bits(coded), setting.rate)
        return codec.counted(data), self.judge.answer(codec.decode(data), size)

    def codec(self, name: str) -> ImageCodec:
        """A rival that codes pictures, by its name."""
        return next(codec for codec in self.codecs if codec.name == name)

    def _point(self, setting: Setting, column: _Column, counts: NDArray[np.int64]) -> Point:
        return Point(
            setting=setting,
            bpp=mean_estimate(np.array(column.bpp), counts),
            feature_error=mean_estimate(np.array(column.errors), counts),
            figures=self.measure.summary(column.records, counts),
        )


def chosen_rates(session: Session, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """The rates to evaluate, from few bits to many; all where none is asked for.

    Raises:
        UsageError: the bundle has no such rate.
    """
    rates = tuple(sorted(set(wanted))) if wanted is not None else tuple(range(session.rates))
    for rate in rates:
        if not 0 <= rate < session.rates:
            raise UsageError(
                f"there is no rate {rate}", expected=f"0 (fewest bits) to {session.rates - 1}", got=f"--rates {rate}"
            )
    return rates


def eight_bits(coded: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels in 0..255 as a picture; the rivals take nothing finer."""
    return np.ascontiguousarray(coded if coded.dtype == np.uint8 else np.rint(coded).astype(np.uint8))


def _of_labels(name: str) -> bool:
    """Whether a figure is against labels: against itself, the teacher's answer is perfect."""
    return name in ("miou", "map", "ap50")
