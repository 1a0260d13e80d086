"""A bar over photographs, codecs and rates; nothing where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EvaluationBar:
    """Watches an evaluation (:class:`ptp_export.evaluation.evaluate.Watcher`); a context manager.

    Args:
        stream: where to draw, usually stderr: stdout belongs to the result.
        steps: photographs × settings.
    """

    def __init__(self, stream: TextIO, steps: int) -> None:
        console = Console(file=stream)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("evaluating", total=steps)

    def __enter__(self) -> EvaluationBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advanced(self, photo: str, codec: str) -> None:
        """One codec is done with one photograph at one rate."""
        self._progress.update(self._task, advance=1, description=f"{photo} {codec}")
