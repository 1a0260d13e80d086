"""Whether one profile differs from another: a paired bootstrap over windows and rounds.

A run of A is paired with the run of B on the same photo, in the same round of the same window counted from the end. The
figure is the median of the pairs' ratios B/A. It is resampled on two levels: windows with replacement, and in each of
them rounds with replacement, because runs that follow one another have much in common. B *differs* where the interval
does not hold 1. For the totals it is a 95 % interval; the stages share that 5 % (Bonferroni), so that among twenty of
them chance alone does not find one.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import UsageError
from ptp_runtime.profiling.stages import SIDES, in_order

RESAMPLES = 4000
LEVEL = 0.05
LEAST_MILLISECONDS = 0.01
"""A stage below it is not compared: the clock's own grain shows."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """How much longer B takes than A.

    Attributes:
        name: ``encode``, ``decode``, ``both``, or of a stage: ``decode/head``.
        ratio: B over A.
        low, high: its interval.
    """

    name: str
    ratio: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the interval leaves 1 out."""
        return not self.low <= 1.0 <= self.high

    def sentence(self) -> str:
        """For people."""
        figures = f"{self.ratio:.3f}×, interval {self.low:.3f} to {self.high:.3f}"
        if not self.differs:
            return f"{self.name}: B cannot be told from A ({figures})"
        change = f"{abs(self.ratio - 1):.1%}"
        return f"{self.name}: B takes {change} {'more' if self.ratio > 1 else 'less'} time than A ({figures})"


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        totals: encode, decode and both together, 95 % intervals.
        stages: those that both have, intervals that hold all at once.
        apart: what differs between the two beside time; empty where nothing does.
        pairs: how many pairs of runs.
    """

    totals: tuple[Ratio, ...]
    stages: tuple[Ratio, ...]
    apart: tuple[str, ...]
    pairs: int

    def sentences(self) -> list[str]:
        """For people: the verdict, then what differs beside time, then each total and each stage that differs."""
        both = self.totals[-1]
        moved = [ratio for ratio in self.stages if ratio.differs]
        lines = [f"Encoding and decoding together: {both.sentence().partition(': ')[2]}."]
        if self.apart:
            lines.append(f"A and B differ beside time: {'; '.join(self.apart)}.")
        lines += [f"{ratio.sentence()}." for ratio in self.totals[:-1]]
        lines += [f"{ratio.sentence()}." for ratio in moved]
        rest = len(self.stages) - len(moved)
        lines.append(f"{rest} of {len(self.stages)} stages cannot be told apart; {self.pairs} pairs of runs.")
        return lines


def compare(a: Mapping[str, Any], b: Mapping[str, Any], *, across: bool = False, seed: int = 0) -> Comparison:
    """Compare two profiles (:func:`~ptp_runtime.profiling.schema.read_profile`).

    Args:
        a, b: the documents.
        across: allow another machine or another bundle; the comparison then names them.
        seed: of the resampling.

    Raises:
        UsageError: other photos or another rate, so that there are no pairs; or another machine or bundle.
    """
    for what, left, right in (
        ("photos", _photos(a), _photos(b)),
        ("rates", a["settings"]["rate"], b["settings"]["rate"]),
    ):
        if left != right:
            raise UsageError(
                f"the two profiles were made with other {what}: there are no pairs of runs",
                expected=str(left),
                got=str(right),
                hint="measure both with the same photos and --rate",
            )
    grave, light = _apart(a, b)
    if grave and not across:
        raise UsageError(
            "the two profiles are not of one thing",
            expected="the same machine and bundle",
            got="; ".join(grave),
            hint="say that it is meant with --across",
        )
    left, right = kept_times(a, "ours"), kept_times(b, "ours")
    names = [name for name in left if name in right]
    totals, stages = ratios_of(left, right, names, seed)
    pairs = min(left["encode"].size, right["encode"].size)
    return Comparison(totals, stages, (*grave, *light), pairs)


def _photos(document: Mapping[str, Any]) -> list[str]:
    return [f"{photo['name']} {photo['width']}×{photo['height']} {photo['sha256'][:8]}" for photo in document["photos"]]


def _apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What differs so that a comparison has to be asked for, and what is only worth a word."""

    def changed(kind: str, fields: tuple[str, ...]) -> list[str]:
        pairs = ((field, a[kind].get(field), b[kind].get(field)) for field in fields)
        return [f"{kind} {field}: {left} and {right}" for field, left, right in pairs if left != right]

    grave = changed("machine", ("processor", "cores", "system", "devices"))
    grave += changed("bundle", ("task", "manifest_sha256"))
    light = changed("settings", ("backend", "entropy_backend", "threads", "numba_threads", "environment"))
    light += changed("software", tuple(sorted({*a["software"], *b["software"]})))
    return grave, light + [f"{name} is not stable" for name, one in (("A", a), ("B", b)) if not one["stable"]]


def kept_times(document: Mapping[str, Any], subject: str) -> dict[str, Floats]:
    """Milliseconds [windows, rounds, photos] of a subject's kept windows: of each side, both, and each stage.

    Raises:
        UsageError: the runs are not the same photos in each round.
    """
    windows = [window["runs"][subject] for window in document["windows"] if window["kept"]]
    photos = len(document["photos"])
    found: dict[str, Floats] = {}
    for side in SIDES:
        sides = [window[side] for window in windows]
        if any(list(map(int, s["photo"])) != list(range(photos)) * (len(s["total"]) // photos) for s in sides):
            raise UsageError("a profile's rounds are not whole", expected=f"{photos} photos a round, in order")
        rounds = min(len(one["total"]) for one in sides) // photos
        found[side] = np.array([one["total"][: rounds * photos] for one in sides]).reshape(-1, rounds, photos)
        for stage in in_order(set().union(*(one["stages"] for one in sides))):
            values = [one["stages"].get(stage, [0.0] * len(one["total"]))[: rounds * photos] for one in sides]
            found[f"{side}/{stage}"] = np.array(values).reshape(-1, rounds, photos)
    found["both"] = found["encode"] + found["decode"]
    return found


def ratios_of(
    a: Mapping[str, Floats], b: Mapping[str, Floats], names: list[str], seed: int
) -> tuple[tuple[Ratio, ...], tuple[Ratio, ...]]:
    """Totals and stages of paired times, B over A.

    Args:
        a, b: from :func:`kept_times`; the last windows and the first rounds that both have are paired.
        names: which of them.
        seed: of the resampling.
    """
    windows = min(a["both"].shape[0], b["both"].shape[0])
    rounds = min(a["both"].shape[1], b["both"].shape[1])
    picks = _picks(windows, rounds, seed)

    def logs(name: str) -> Floats:
        left, right = (side[name][-windows:, :rounds] for side in (a, b))
        floor = 1e-6
        result: Floats = np.log(np.maximum(right, floor) / np.maximum(left, floor))
        return result.reshape(windows * rounds, -1)

    totals = tuple(_ratio(name, logs(name), picks, LEVEL) for name in ("encode", "decode", "both"))
    compared = [
        name for name in names if "/" in name and min(np.median(a[name]), np.median(b[name])) >= LEAST_MILLISECONDS
    ]
    level = LEVEL / max(1, len(compared))
    return totals, tuple(_ratio(name, logs(name), picks, level) for name in compared)


def _picks(windows: int, rounds: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows of each resample [resamples, windows · rounds]: windows, then rounds of each, both with replacement."""
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, windows, (RESAMPLES, windows, 1))
    inside = generator.integers(0, rounds, (RESAMPLES, windows, rounds))
    picks: npt.NDArray[np.int64] = (chosen * rounds + inside).reshape(RESAMPLES, -1)
    return picks


def _ratio(name: str, logs: Floats, picks: npt.NDArray[np.int64], level: float) -> Ratio:
    resampled = np.array([np.median(logs[rows]) for rows in picks])
    low, high = np.quantile(resampled, (level / 2, 1 - level / 2))
    return Ratio(name, float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high)))
