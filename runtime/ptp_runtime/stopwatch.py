"""Milliseconds by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Sums the wall-clock time of named stages; a stage entered several times adds up.

    Attributes:
        milliseconds: by stage, in the order of their first entry.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = (time.perf_counter() - start) * 1e3
            self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + elapsed

    def total(self) -> float:
        """The sum over all stages."""
        return sum(self.milliseconds.values())
