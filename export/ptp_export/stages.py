"""Stages of an export: named, timed, watched, and repeatable when one fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ptp_runtime.errors import (
    CheckpointError,
    MissingExtraError,
    PrecisionNotMetError,
    StageFailedError,
    TaskNotAvailableError,
    UsageError,
)

#: Failures that say what to change; the rest is a stage that failed.
_EXPLAIN_THEMSELVES = (
    CheckpointError,
    MissingExtraError,
    PrecisionNotMetError,
    StageFailedError,
    TaskNotAvailableError,
    UsageError,
)


class StageWatcher(Protocol):
    """Told about every stage; a progress bar, or nothing."""

    def planned(self, count: int) -> None:
        """How many stages there will be."""

    def started(self, name: str) -> None:
        """A stage begins."""

    def advanced(self, share: float, what: str) -> None:
        """How much of the running stage is done, from 0 to 1, and what it is at; of stages that can tell."""

    def finished(self, name: str, seconds: float) -> None:
        """A stage ended well."""


class SilentWatcher:
    """Watches nothing."""

    def planned(self, count: int) -> None:
        """Ignored."""

    def started(self, name: str) -> None:
        """Ignored."""

    def advanced(self, share: float, what: str) -> None:
        """Ignored."""

    def finished(self, name: str, seconds: float) -> None:
        """Ignored."""


@dataclass
class Stages:
    """Runs stages one after the other.

    Attributes:
        watcher: told about each.
        seconds: stage name → duration, in the order they ran.
    """

    watcher: StageWatcher
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, repeat: str) -> Iterator[None]:
        """One stage.

        Args:
            name: for people.
            repeat: the command that runs this stage again.

        Raises:
            StageFailedError: the block failed in a way that is nobody's mistake in asking; the hint is ``repeat``.
            PtpError: the block raised one that explains itself (a missing extra, a wrong checkpoint, a precision).
        """
        self.watcher.started(name)
        start = time.perf_counter()
        try:
            yield
        except _EXPLAIN_THEMSELVES:
            raise
        except Exception as error:
            got = (str(error).strip().splitlines() or [""])[0]
            raise StageFailedError(
                f"the stage '{name}' failed", got=got or type(error).__name__, hint=_hint(repeat)
            ) from error
        self.seconds[name] = time.perf_counter() - start
        self.watcher.finished(name, self.seconds[name])


def _hint(command: str) -> str:
    return f"repeat it with: {command}"
