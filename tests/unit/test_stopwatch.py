"""Spans: what an observer sees of a run, and how each moment is counted once."""

from __future__ import annotations

import threading

import pytest

from ptp_runtime.profiling.stages import BETWEEN, Piece, critical, in_order, pieces, stage_milliseconds
from ptp_runtime.stopwatch import Span, Stopwatch, is_observed, observed, observed_spans

pytestmark = pytest.mark.runtime


def test_an_observer_sees_every_span_and_the_sums_stay() -> None:
    watch = Stopwatch()
    with observed_spans() as spans:
        for step in range(3):
            with watch("context", step):
                pass
        with watch("synthesis"), observed("copies"):
            pass

    assert [(span.stage, span.step, span.depth) for span in spans] == [
        ("context", 0, 0),
        ("context", 1, 0),
        ("context", 2, 0),
        ("copies", None, 1),
        ("synthesis", None, 0),
    ]
    assert list(watch.milliseconds) == ["context", "synthesis"]
    assert watch.total() == pytest.approx(sum(watch.milliseconds.values()))


def test_nobody_looks_on_by_default() -> None:
    watch = Stopwatch()
    assert not is_observed()
    with observed_spans() as first, observed_spans() as second:
        assert is_observed()
        with watch("head"):
            pass
    with watch("late"):
        pass

    assert [span.stage for span in first] == [span.stage for span in second] == ["head"]


def test_a_span_is_noted_when_the_work_fails() -> None:
    with observed_spans() as spans, pytest.raises(ValueError, match="no"), Stopwatch()("coder"):
        raise ValueError("no")

    assert [span.stage for span in spans] == ["coder"]
    with observed_spans() as spans, observed("after"):
        pass
    assert spans[0].depth == 0, "the failed span is still open"


def test_other_threads_are_not_seen() -> None:
    def work() -> None:
        with observed("elsewhere"):
            pass

    with observed_spans() as spans:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert spans == []


def test_a_stage_loses_what_its_parts_take() -> None:
    spans = [
        Span("copies", None, 10.001, 10.002, 1),
        Span("copies", None, 10.005, 10.008, 1),
        Span("synthesis", None, 10.000, 10.010),
        Span("head", None, 10.011, 10.020),
    ]

    parts = pieces(spans, 10.0)
    found = stage_milliseconds(parts, 21.0)

    assert [piece.stage for piece in parts] == ["synthesis", "copies", "synthesis", "copies", "synthesis", "head"]
    assert found == {
        "synthesis": pytest.approx(6.0),
        "copies": pytest.approx(4.0),
        "head": pytest.approx(9.0),
        BETWEEN: pytest.approx(2.0),
    }


def test_three_levels_are_each_counted_once() -> None:
    spans = [Span("a", None, 0.0, 0.010), Span("b", None, 0.002, 0.008, 1), Span("c", None, 0.003, 0.004, 2)]

    found = stage_milliseconds(pieces(spans, 0.0), 10.0)

    assert found == {
        "a": pytest.approx(4.0),
        "b": pytest.approx(5.0),
        "c": pytest.approx(1.0),
        BETWEEN: pytest.approx(0, abs=1e-9),
    }


def test_stages_are_named_and_ordered_as_the_work_goes() -> None:
    spans = [Span("image", None, 0, 1), Span("context", 10, 1, 2), Span("context", 2, 2, 3), Span("coder", 2, 3, 4)]
    names = [piece.stage for piece in pieces(spans, 0.0)]

    assert names == ["preprocess", "context 10", "context 2", "coder"]
    assert in_order([*names, "something new", BETWEEN, "head"]) == [
        "preprocess",
        "context 2",
        "context 10",
        "coder",
        "head",
        BETWEEN,
        "something new",
    ]


def test_the_whole_of_a_chain_is_critical() -> None:
    assert critical([Piece("a", 0, 1), Piece("b", 1, 3), Piece("c", 3.5, 4)]) == (True, True, True)


def test_what_runs_beside_the_critical_path_is_not_on_it() -> None:
    parts = [Piece("a", 0, 1), Piece("short", 1, 2, thread=7), Piece("long", 1, 5), Piece("end", 5, 6)]

    assert critical(parts) == (True, False, True, True)
    assert critical([]) == ()
