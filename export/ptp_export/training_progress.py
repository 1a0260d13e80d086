"""How a run of ``ptp train`` shows itself: a bar on a terminal, lines elsewhere, curves where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ptp_export.training_board import Board
from ptp_model.training.loop import Watch


class TrainingProgress:
    """Shows step, rate, distortion and the time that is left; a context manager.

    Args:
        stream: where the bar is drawn, if that is a terminal.
        steps: of the whole run.
        line: takes a line of text where there is no terminal.
        board: also gets the figures.
    """

    def __init__(self, stream: TextIO, steps: int, line: Callable[[str], None], board: Board | None = None) -> None:
        console = Console(file=stream)
        self._steps, self._line, self._board, self._drawn = steps, line, board, console.is_terminal
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._drawn,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._board is not None:
            self._board.close()

    @property
    def watch(self) -> Watch:
        """What the training loop calls."""
        return Watch(self._report, self._tick)

    def _tick(self, done: int) -> None:
        if self._task is None:
            # A resumed run starts where it stopped: the bar's speed must not count what was done before.
            self._task = self._progress.add_task("", total=self._steps, completed=done, figures="")
        else:
            self._progress.update(self._task, completed=done)

    def _report(self, line: Mapping[str, float]) -> None:
        if self._board is not None:
            self._board.report(line)
        if not self._drawn:
            figures = "  ".join(f"{name} {value:.4g}" for name, value in line.items() if name != "step")
            self._line(f"step {int(line['step']):>7}  {figures}")
        elif self._task is not None:
            self._progress.update(self._task, figures=rate_and_distortion(line))


def rate_and_distortion(line: Mapping[str, float]) -> str:
    """The two figures of a line that a reader looks at first."""
    parts = []
    if "bpp" in line:
        parts.append(f"rate {line['bpp']:.3f} bpp")
    if "feature_mse" in line:
        parts.append(f"distortion {line['feature_mse']:.3f}")
    return "  ".join(parts)
