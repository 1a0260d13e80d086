"""Runs: every photo encoded and decoded, by our session and by its rivals in turn, window after window."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ptp_runtime.images import Pixels
from ptp_runtime.profiling.percentiles import median
from ptp_runtime.profiling.stages import SIDES, Piece, pieces, stage_milliseconds
from ptp_runtime.profiling.windows import StabilityRule
from ptp_runtime.sensors import DeviceReading, LinuxSensors, MachineReading, NvmlSensors
from ptp_runtime.session import Session
from ptp_runtime.stopwatch import observed_spans

T = TypeVar("T")
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Photo:
    """A photo to profile with.

    Attributes:
        name: for people.
        pixels: uint8 (H, W, 3).
    """

    name: str
    pixels: Pixels


@dataclass(frozen=True)
class Run:
    """One encoding or one decoding.

    Attributes:
        photo: its number.
        round: its round within the window.
        start: seconds since the first window began.
        total: milliseconds.
        cpu: milliseconds that all threads of this process computed meanwhile: less than the total where they waited for
            a processor, more where several computed.
        stages: milliseconds by stage.
        pieces: the stretches that they consist of.
    """

    photo: int
    round: int
    start: float
    total: float
    cpu: float
    stages: Mapping[str, float]
    pieces: tuple[Piece, ...]


@dataclass
class Window:
    """Some rounds.

    Attributes:
        start: seconds since the first window began.
        runs: by subject, then by side.
        machine, devices: what the sensors showed at its end.
    """

    start: float
    runs: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    machine: MachineReading = field(default_factory=MachineReading)
    devices: tuple[DeviceReading, ...] = ()

    def medians(self, subject: str) -> dict[str, float]:
        """Of a subject's runs, by side, milliseconds."""
        return {side: median(run.total for run in self.runs[subject][side]) for side in SIDES}


@dataclass(frozen=True)
class Measurement:
    """All windows.

    Attributes:
        windows: in order.
        kept: how many at the end count; see :mod:`ptp_runtime.profiling.windows`.
        stable: whether they agree.
        stream_bytes: by photo.
        before: what the sensors showed before the first window.
    """

    windows: tuple[Window, ...]
    kept: int
    stable: bool
    stream_bytes: tuple[int, ...]
    before: MachineReading

    def kept_runs(self, subject: str, side: str) -> list[Run]:
        """Of the kept windows, in the order of time."""
        return [run for window in self.windows[-self.kept :] for run in window.runs[subject][side]]


def measure(
    sessions: Mapping[str, Session],
    photos: Sequence[Photo],
    rule: StabilityRule,
    *,
    rate: int | None = None,
    sensors: LinuxSensors | None = None,
    nvml: NvmlSensors | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Measure until the rule is content.

    Args:
        sessions: our session first; rivals run in turn with it, photo by photo, and do not count for the rule.
        photos: at least one.
        rule: when to stop.
        rate: see ``Session.encode``.
        sensors: None: those of this machine.
        nvml: None: no device is read.
        progress: called after each window with its number, the windows that agree, and the seconds that passed.

    Raises:
        PtpError: what encoding or decoding raises.
    """
    look = LinuxSensors() if sensors is None else sensors
    ours = next(iter(sessions))
    streams: list[bytes] = []
    for _ in range(rule.warmup):
        streams = [_warmed(sessions, photo, rate, ours) for photo in photos]
    before, origin = look.read(), time.perf_counter()
    windows: list[Window] = []
    medians: list[dict[str, float]] = []
    while not rule.finished(medians, time.perf_counter() - origin):
        window = _window(sessions, photos, rule.rounds, rate, origin)
        window.machine, window.devices = look.read(), () if nvml is None else nvml.read()
        windows.append(window)
        medians.append(window.medians(ours))
        if progress is not None:
            progress(len(windows), rule.kept(medians), time.perf_counter() - origin)
    kept = rule.kept(medians)
    stable = kept >= rule.least
    return Measurement(
        tuple(windows), kept if stable else len(windows), stable, tuple(len(data) for data in streams), before
    )


def _warmed(sessions: Mapping[str, Session], photo: Photo, rate: int | None, ours: str) -> bytes:
    """The photo through every session; gives our stream."""
    data = {name: session.encode(photo.pixels, rate=rate) for name, session in sessions.items()}
    for name, session in sessions.items():
        session.decode(data[name])
    return data[ours]


def _window(
    sessions: Mapping[str, Session], photos: Sequence[Photo], rounds: int, rate: int | None, origin: float
) -> Window:
    window = Window(time.perf_counter() - origin, {name: {side: [] for side in SIDES} for name in sessions})
    for number in range(rounds):
        for index, photo in enumerate(photos):
            # Whoever comes second finds warmer or colder caches: they take turns.
            names = list(sessions) if number % 2 == 0 else list(sessions)[::-1]
            for name in names:
                session, runs = sessions[name], window.runs[name]
                encoded, data = _timed(partial(session.encode, photo.pixels, rate=rate), index, number, origin)
                decoded, _ = _timed(partial(session.decode, data), index, number, origin)
                runs["encode"].append(encoded)
                runs["decode"].append(decoded)
    return window


def _timed(work: Callable[[], T], photo: int, number: int, origin: float) -> tuple[Run, T]:
    with observed_spans() as spans:
        computed, start = time.process_time(), time.perf_counter()
        result = work()
        total = (time.perf_counter() - start) * 1e3
        cpu = (time.process_time() - computed) * 1e3
    parts = pieces(spans, start)
    return Run(photo, number, start - origin, total, cpu, stage_milliseconds(parts, total), parts), result


def made_picture(height: int = 512, width: int = 768) -> Pixels:
    """A picture with a photograph's spectrum (amplitude as 1/frequency) and colours that vary slowly; always the same.

    What a codec makes of it takes about as many bytes as of a photo: noise would keep the coder busy as no photo does.
    """
    generator = np.random.default_rng(20260101)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    falloff = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width)) ** 1.2

    def plane() -> npt.NDArray[np.float64]:
        noise = generator.normal(size=falloff.shape) + 1j * generator.normal(size=falloff.shape)
        values = np.fft.irfft2(noise * falloff, (height, width))
        scaled: npt.NDArray[np.float64] = (values - values.mean()) / values.std()
        return scaled

    light = plane()
    planes = [110 + 42 * light + 14 * plane() for _ in range(3)]
    picture: Pixels = np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)
    return picture
