"""A progress bar over the stages of an export; plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class ProgressBar:
    """Watches stages (see :class:`ptp_export.stages.StageWatcher`); a context manager.

    Args:
        stream: where to draw, usually stderr: stdout belongs to the result.
    """

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._done = 0
        self._name = ""
        self._total = 0  # not known before the checkpoint is read
        self._waiting: list[tuple[int, str, float]] = []

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        self._task = self._progress.add_task("starting", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, count: int) -> None:
        """Give the bar its length."""
        self._total = count
        for line in self._waiting:
            self._line(*line)
        self._waiting.clear()
        if self._task is not None:
            self._progress.update(self._task, total=count)

    def started(self, name: str) -> None:
        """Name the running stage."""
        self._name = name
        if self._task is not None:
            self._progress.update(self._task, description=name)

    def advanced(self, share: float, what: str) -> None:
        """Show how far the running stage is; called from another thread than the rest."""
        if self._task is not None:
            description = f"{self._name}: {share:4.0%} {what[:40].lower()}"
            self._progress.update(self._task, description=description, completed=self._done + min(share, 0.99))

    def finished(self, name: str, seconds: float) -> None:
        """Advance, and leave a line with the stage's time."""
        self._done += 1
        if self._task is not None:
            self._progress.update(self._task, completed=self._done)
        if self._total:
            self._line(self._done, name, seconds)
        else:
            self._waiting.append((self._done, name, seconds))

    def _line(self, number: int, name: str, seconds: float) -> None:
        width = len(str(self._total))
        self._console.print(f"{number:>{width}}/{self._total}  {name:<28} {seconds:6.1f} s", highlight=False)
