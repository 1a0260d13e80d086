"""Interpolation, delta rate and bootstrap, against cases worked by hand and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from ptp_export.evaluation.curves.bjontegaard import RatePoint, delta_rate, efficient
from ptp_export.evaluation.curves.bootstrap import draws, estimate, mean_estimate
from ptp_export.evaluation.curves.pchip import Pchip


def _points(*pairs: tuple[float, float]) -> list[RatePoint]:
    return [RatePoint(bpp, figure) for bpp, figure in pairs]


def test_two_points_are_a_straight_line() -> None:
    line = Pchip.through(np.array([1.0, 3.0]), np.array([10.0, 20.0]))
    assert line.at(1) == 10
    assert line.at(2) == pytest.approx(15)
    assert line.integral(1, 3) == pytest.approx(30)
    assert line.integral(2, 3) == pytest.approx(17.5)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_scipys_pchip(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = np.cumsum(generator.uniform(0.1, 2, 3 + seed % 6))
    y = np.cumsum(generator.normal(0.3, 1, len(x)))
    ours, theirs = Pchip.through(x, y), PchipInterpolator(x, y)
    for at in np.linspace(x[0], x[-1], 17):
        assert ours.at(float(at)) == pytest.approx(float(theirs(at)), abs=1e-9)
    low, high = x[0] + 0.2 * (x[-1] - x[0]), x[0] + 0.9 * (x[-1] - x[0])
    assert ours.integral(low, high) == pytest.approx(float(theirs.integrate(low, high)), abs=1e-9)


def test_nothing_is_extrapolated() -> None:
    line = Pchip.through(np.array([1.0, 3.0]), np.array([10.0, 20.0]))
    with pytest.raises(ValueError, match="extrapolated"):
        line.at(3.5)
    with pytest.raises(ValueError, match="strictly"):
        Pchip.through(np.array([1.0, 1.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="two points"):
        Pchip.through(np.array([1.0]), np.array([0.0]))


def test_half_the_rate_is_minus_fifty_per_cent() -> None:
    other = _points((0.2, 30), (0.4, 33), (0.8, 36), (1.6, 38))
    ours = [RatePoint(point.bpp / 2, point.figure) for point in other]
    assert delta_rate(ours, other).percent == pytest.approx(-50)
    assert delta_rate(other, ours).percent == pytest.approx(100)
    assert delta_rate(other, other).percent == pytest.approx(0)


def test_lines_in_the_logarithm_by_hand() -> None:
    # log2 rate: ours q - 1 from 0 to 4, the other q from 1 to 3: the common range is 1..3, the difference one octave.
    ours = _points((2**-1, 0), (2**3, 4))
    other = _points((2**1, 1), (2**3, 3))
    found = delta_rate(ours, other)
    assert (found.low, found.high) == (1, 3)
    assert found.percent == pytest.approx(-50)
    # Differences of 0 octaves at q = 0 and 2 at q = 2, linear between: one octave on average.
    assert delta_rate(_points((1, 0), (2**4, 2)), _points((1, 0), (2**2, 2))).percent == pytest.approx(100)


def test_one_rate_is_compared_at_its_own_quality() -> None:
    found = delta_rate(_points((1.0, 2)), _points((1, 1), (4, 3)))
    assert found.at_one_rate
    assert found.percent == pytest.approx(-50)  # the other needs 2 at quality 2


def test_curves_that_do_not_overlap_have_a_reason() -> None:
    low, high = _points((0.1, 1), (0.2, 2)), _points((0.1, 3), (0.2, 4))
    assert delta_rate(low, high).percent is None
    assert "ours reaches 2, the other begins at 3" in delta_rate(low, high).reason
    assert "the other reaches 2, ours begins at 3" in delta_rate(high, low).reason
    assert "too few" in delta_rate(low, high[:1]).reason
    assert "too few" in delta_rate(_points((0.1, float("nan"))), high).reason


def test_a_point_that_costs_more_and_gives_less_is_left_out() -> None:
    points = _points((0.4, 3), (0.1, 1), (0.3, 2), (0.2, 2.5), (0.2, 2.4))
    assert efficient(points) == tuple(_points((0.1, 1), (0.2, 2.5), (0.4, 3)))


def test_a_curve_that_mostly_falls_is_marked() -> None:
    rising, falling = _points((0.1, 1), (0.2, 2), (0.4, 3)), _points((0.1, 1), (0.2, 0.5), (0.3, 0.7), (0.4, 3))
    assert delta_rate(rising, falling).unsteady
    assert delta_rate(falling, rising).unsteady
    assert not delta_rate(rising, rising).unsteady


def test_resamples_keep_the_number_of_photographs_and_the_seed() -> None:
    counts = draws(7, seed=3, resamples=50)
    assert counts.shape == (50, 7)
    assert (counts.sum(1) == 7).all()
    assert (counts == draws(7, seed=3, resamples=50)).all()
    assert (counts != draws(7, seed=4, resamples=50)).any()


def test_the_interval_of_a_mean_is_that_of_statistics() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = mean_estimate(values, draws(400, seed=0))
    assert found.value == pytest.approx(values.mean())
    error = values.std() / np.sqrt(400)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_photographs_without_a_value_do_not_count() -> None:
    found = mean_estimate(np.array([1.0, np.nan, 3.0]), draws(3, seed=0))
    assert found.value == 2
    assert (found.low, found.high) == (1, 3)
    assert np.isnan(mean_estimate(np.array([np.nan, np.nan]), draws(2, seed=0)).value)


def test_one_photograph_has_no_interval() -> None:
    found = mean_estimate(np.array([0.5]), draws(1, seed=0))
    assert found.value == 0.5
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_a_dear_figure_uses_fewer_resamples() -> None:
    asked = []

    def figure(counts: np.ndarray) -> np.ndarray:
        asked.append(len(counts))
        return counts[:, 0].astype(float)

    estimate(figure, draws(3, seed=0), limit=10)
    assert asked == [1, 10]
