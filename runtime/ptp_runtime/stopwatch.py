"""Milliseconds by stage, and every single stretch of them for whoever wants to look closer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One stretch of time that one stage took.

    Attributes:
        stage: its name.
        step: number of the step inside the stage (of the context chain: as in the schedule); None where it has none.
        start: seconds, of :func:`time.perf_counter`.
        end: likewise.
        depth: how many stages it stands inside of.
        thread: which thread it was on.
    """

    stage: str
    step: int | None
    start: float
    end: float
    depth: int = 0
    thread: int = 0


_observers: ContextVar[tuple[list[Span], ...]] = ContextVar("observers", default=())
_depth: ContextVar[int] = ContextVar("depth", default=0)


@contextmanager
def observed_spans() -> Iterator[list[Span]]:
    """A list that gets every span of every stopwatch of this thread while the block runs, in the order of their ends.

    The stopwatches themselves are the business of those who work: a profiler looks on without being handed through.
    """
    spans: list[Span] = []
    token = _observers.set((*_observers.get(), spans))
    try:
        yield spans
    finally:
        _observers.reset(token)


def is_observed() -> bool:
    """Whether anybody looks on."""
    return bool(_observers.get())


@contextmanager
def observed(stage: str, step: int | None = None) -> Iterator[None]:
    """A stage that only observers see: a part of another stage, such as the copies of a graph's inputs."""
    observers = _observers.get()
    if not observers:
        yield
        return
    depth = _depth.get()
    token = _depth.set(depth + 1)
    start = time.perf_counter()
    try:
        yield
    finally:
        span = Span(stage, step, start, time.perf_counter(), depth, threading.get_ident())
        _depth.reset(token)
        for spans in observers:
            spans.append(span)


class Stopwatch:
    """Sums the wall-clock time of named stages; a stage entered several times adds up.

    Attributes:
        milliseconds: by stage, in the order of their first entry.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str, step: int | None = None) -> Iterator[None]:
        """Time a stage.

        Args:
            stage: its name.
            step: which step of it, for those who watch with :func:`observed_spans`; the sum is over all of them.
        """
        start = time.perf_counter()
        try:
            with observed(stage, step):
                yield
        finally:
            elapsed = (time.perf_counter() - start) * 1e3
            self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + elapsed

    def total(self) -> float:
        """The sum over all stages."""
        return sum(self.milliseconds.values())


def times_values(milliseconds: Mapping[str, float]) -> dict[str, float]:
    """The times for JSON, with their total."""
    rounded = {stage: round(value, 3) for stage, value in milliseconds.items()}
    return rounded | {"total": round(sum(milliseconds.values()), 3)}
