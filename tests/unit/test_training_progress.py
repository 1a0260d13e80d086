"""A bar on a terminal, lines elsewhere, curves where they are asked for."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ptp_export.training_board import Board
from ptp_export.training_progress import TrainingProgress, rate_and_distortion
from ptp_runtime.errors import MissingExtraError

LINE = {"step": 50, "loss": 2.0, "bpp": 0.1234, "feature_mse": 0.5, "eta_minutes": 3.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream, lines = Terminal(), list[str]()
    with TrainingProgress(stream, 200, lines.append) as progress:
        progress.watch.tick(0)
        progress.watch.report(LINE)
        progress.watch.tick(50)
    shown = stream.getvalue()
    assert "50/200" in shown
    assert "rate 0.123 bpp" in shown
    assert "distortion 0.500" in shown
    assert lines == []


def test_elsewhere_there_are_lines() -> None:
    stream, lines = io.StringIO(), list[str]()
    with TrainingProgress(stream, 200, lines.append) as progress:
        progress.watch.tick(0)
        progress.watch.report(LINE)
        progress.watch.tick(50)
    assert stream.getvalue().strip() == ""
    assert lines == ["step      50  loss 2  bpp 0.1234  feature_mse 0.5  eta_minutes 3"]


def test_figures_that_a_task_lacks_are_left_out() -> None:
    assert rate_and_distortion({"bpp": 1.0}) == "rate 1.000 bpp"
    assert rate_and_distortion({}) == ""


def test_without_tensorboard_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"expected the package tensorboard.*ptp-deploy\[train\]"):
        Board(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with TrainingProgress(io.StringIO(), 200, lambda _: None, Board(tmp_path)) as progress:
        progress.watch.report(LINE)
        progress.watch.report(LINE | {"step": 100, "loss": 1.0})
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == set(LINE) - {"step"}
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(50, 2.0), (100, 1.0)]
