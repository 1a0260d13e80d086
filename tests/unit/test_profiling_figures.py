"""Percentiles, the rule that ends a measurement, and why slow runs are slow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptp_runtime.errors import UsageError
from ptp_runtime.profiling.measure import made_picture
from ptp_runtime.profiling.percentiles import percentiles, resolved, summary
from ptp_runtime.profiling.tails import tail
from ptp_runtime.profiling.windows import StabilityRule

pytestmark = pytest.mark.runtime

times = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60)


@given(times)
def test_percentiles_rise_and_stay_among_the_times(values: list[float]) -> None:
    found = list(percentiles(values).values())

    assert found == sorted(found)
    assert min(values) * (1 - 1e-12) <= found[0]
    assert found[-1] <= max(values) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (1, ()),
        (2, ("p50",)),
        (9, ("p50",)),
        (10, ("p50", "p90")),
        (99, ("p50", "p90")),
        (100, ("p50", "p90", "p99")),
        (999, ("p50", "p90", "p99")),
        (1000, ("p50", "p90", "p99", "p99.9")),
    ],
)
def test_few_runs_do_not_show_high_percentiles(runs: int, names: tuple[str, ...]) -> None:
    assert resolved(runs) == names


def test_summary_counts() -> None:
    found = summary([3.0, 1.0, 2.0])

    assert (found["p50"], found["least"], found["most"], found["runs"]) == (2.0, 1.0, 3.0, 3)
    assert found["mean"] == pytest.approx(2.0)


def windows(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"encode": encode, "decode": decode} for encode, decode in pairs]


def test_a_slow_start_is_left_out() -> None:
    rule = StabilityRule(least=3, most=9)
    seen = windows((20, 50), (10, 50), (10.2, 51), (10.1, 50.5))

    assert rule.kept(seen) == 3
    assert rule.finished(seen, 0)
    assert not rule.finished(seen[:3], 0)


def test_both_sides_must_agree() -> None:
    rule = StabilityRule(least=2, most=9)

    assert rule.kept(windows((10, 50), (10, 60))) == 1
    assert rule.kept(windows((10, 50), (12, 50))) == 1
    assert rule.kept(windows((10, 50), (10.4, 52))) == 2
    assert rule.kept([]) == 0


def test_measuring_ends_without_agreement() -> None:
    rule = StabilityRule(least=2, most=3, seconds=5)
    seen = windows((10, 1), (20, 1), (40, 1))

    assert rule.finished(seen, 0)
    assert rule.finished(seen[:1], 5)
    assert not rule.finished([], 100), "not one window"
    assert not rule.finished(seen[:2], 4.9)


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=2, max_size=8))
def test_kept_windows_agree_and_one_more_would_not(pairs: list[tuple[float, float]]) -> None:
    rule, seen = StabilityRule(), windows(*pairs)
    kept = rule.kept(seen)

    def agree(tail_of: list[dict[str, float]]) -> bool:
        return all(
            max(w[side] for w in tail_of) <= min(w[side] for w in tail_of) * 1.05 for side in ("encode", "decode")
        )

    assert agree(seen[-kept:])
    assert kept == len(seen) or not agree(seen[-kept - 1 :])


@pytest.mark.parametrize(
    "wrong",
    [{"rounds": 0}, {"least": 1}, {"warmup": 0}, {"most": 4, "least": 5}, {"tolerance": 0.0}, {"seconds": 0.0}],
)
def test_a_rule_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="profile"):
        StabilityRule(**wrong)  # type: ignore[arg-type]


def test_the_stage_behind_a_tail_is_named() -> None:
    usual = np.full(200, 10.0)
    head = np.full(200, 4.0)
    slow = [17, 60, 61, 100, 180]
    usual[slow] += 9
    head[slow] += 8

    found = tail("decode", usual.tolist(), usual.tolist(), {"coder": (usual - head).tolist(), "head": head.tolist()})

    assert (found.runs, found.of) == (5, 200)
    assert next(iter(found.excess)) == "head"
    assert found.excess["head"] == pytest.approx(8)
    assert "19.0 ms, 9.0 ms more" in found.sentence()
    assert "mostly in one stage: head +8.0 ms (89%)" in found.sentence()
    assert "the work itself took longer" in found.sentence()


def test_waiting_is_told_from_computing() -> None:
    total = [10.0] * 50 + [30.0] * 5
    found = tail("encode", total, [10.0] * 55, {"analysis": total})

    assert "so they waited" in found.sentence()


def test_no_tail_is_no_tail() -> None:
    found = tail("encode", [10.0] * 20, [10.0] * 20, {"analysis": [9.0] * 20})

    assert "no tail to speak of" in found.sentence()


def test_fewer_runs_than_a_tail_has() -> None:
    assert tail("encode", [1.0, 2.0], [1.0, 2.0], {"analysis": [1.0, 2.0]}).runs == 2


def test_the_made_picture_is_always_the_same() -> None:
    first, second = made_picture(64, 96), made_picture(64, 96)

    assert first.shape == (64, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert first.std() > 20
