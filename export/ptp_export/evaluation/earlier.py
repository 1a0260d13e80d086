"""The rivals' figures of an earlier evaluation: they depend on photographs and teacher, not on our codec."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_export.evaluation.curves.bootstrap import Estimate
from ptp_export.evaluation.evaluate import OURS, Evaluation, Point, Setting
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_runtime.errors import UsageError


@dataclass(frozen=True)
class EarlierRivals:
    """What an earlier evaluation found of codecs other than ours.

    Attributes:
        points: as they were.
        sizes: bytes of each photograph, by setting.
        codecs: name → settings, in words.
        environment: what they were measured with.
    """

    points: tuple[Point, ...]
    sizes: Mapping[Setting, tuple[int, ...]]
    codecs: Mapping[str, str]
    environment: Mapping[str, Any]

    def beside(self, found: Evaluation) -> Evaluation:
        """An evaluation of ours with these rivals."""
        return Evaluation(
            points=(*found.points, *self.points),
            teacher=found.teacher,
            classes=found.classes,
            sizes={**found.sizes, **self.sizes},
            fidelity=found.fidelity,
            interesting=found.interesting,
        )


def read_rivals(path: Path, task: str, teacher: str, photos: Sequence[EvaluationPhoto], seed: int) -> EarlierRivals:
    """Read them from what ``--json`` wrote.

    Args:
        path: the file.
        task: the same there.
        teacher: SHA-256 over its tensors, likewise.
        photos: likewise, in this order.
        seed: of the resamples, likewise: intervals of one evaluation can be compared.

    Raises:
        UsageError: no such file, or an evaluation of something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        theirs = {
            "task": document["task"],
            "teacher": document["teacher_sha256"],
            "photographs": [row["name"] for row in document["photos"]],
            "seed": document["bootstrap"]["seed"],
        }
        ours = {"task": task, "teacher": teacher, "photographs": [photo.name for photo in photos], "seed": seed}
        for what, wanted in ours.items():
            if theirs[what] != wanted:
                raise UsageError(
                    f"the rivals of {path} cannot stand beside this evaluation",
                    expected=f"the same {what}: {_short(wanted)}",
                    got=_short(theirs[what]),
                    hint="evaluate the same photos with the same teacher, or leave --rivals out",
                )
        points = tuple(_point(point) for point in document["points"] if point["codec"] != OURS)
        sizes = {
            p.setting: tuple(int(row["bytes"][p.setting.codec][str(p.setting.rate)]) for row in document["photos"])
            for p in points
        }
        return EarlierRivals(points, sizes, dict(document["codecs"]), dict(document["environment"]))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} holds no rivals", expected="what ptp eval --json wrote", got=f"{type(error).__name__}: {error}"
        ) from error


def _point(values: Mapping[str, Any]) -> Point:
    intervals = values["intervals"]
    return Point(
        setting=Setting(str(values["codec"]), int(values["rate"])),
        bpp=Estimate(_number(values["bpp"]), *map(_number, intervals["bpp"])),
        feature_error=Estimate(_number(values["feature_error"]), *map(_number, intervals["feature_error"])),
        figures={
            name: Estimate(_number(value["value"]), _number(value["low"]), _number(value["high"]))
            for name, value in values["figures"].items()
        },
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
