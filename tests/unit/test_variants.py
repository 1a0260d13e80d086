"""Shifting between variants: the policy with simulated sensors, and sessions of pocket bundles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptp_runtime.errors import UsageError, WrongModelError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.sensors import DeviceReading, MachineReading
from ptp_runtime.variants import Limits, MachineSituation, ShiftingPolicy, Situation, VariantSession
from ptp_runtime.variants.costs import CostBook
from ptp_runtime.variants.situation import hottest, lowest_share

pytestmark = pytest.mark.runtime

TWO = (2.0, 1.0)
"""Costs of two variants, the heavier one first."""


def course(policy: ShiftingPolicy, temperatures: Sequence[float], costs: Sequence[float] = TWO) -> list[int]:
    """What the policy says, told a temperature a second."""
    return [policy.observe(Situation(float(t), None, value), costs) for t, value in enumerate(temperatures)]


def heat_policy(**times: float) -> ShiftingPolicy:
    return ShiftingPolicy(temperature_c=Limits(80, 70), patience=3, **({"dwell": 2.0, "rest": 5.0} | times))  # type: ignore[arg-type]


def test_heat_moves_down_after_patience_and_cold_moves_up_after_rest() -> None:
    said = course(heat_policy(), [60, 85, 85, 85, 85, 60, 60, 60, 60, 60, 60])
    assert said == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]


def test_between_the_limits_nothing_moves() -> None:
    policy = heat_policy()
    assert set(course(policy, [75] * 50)) == {0}
    assert policy.reason == "the variant that is wanted"
    policy = heat_policy()
    assert course(policy, [85] * 5 + [75] * 50)[-1] == 1, "hysteresis: not hot any more is not yet cool"
    assert "temperature 85 °C is above 80" in policy.reason


def test_a_single_spike_does_not_count() -> None:
    assert set(course(heat_policy(), [60, 99, 60, 99, 99, 60] * 10)) == {0}


def test_a_move_up_that_is_taken_back_waits_twice_as_long_the_next_time() -> None:
    """The machine is hot whenever the heavier variant runs."""
    policy, said = heat_policy(), [0]
    for second in range(200):
        said.append(policy.observe(Situation(float(second), None, 60 if said[-1] else 90), TWO))
    light = "".join(map(str, said)).split("0")
    lengths = [len(run) for run in light if run]
    assert len(lengths) > 3
    assert lengths[:-1] == sorted(lengths[:-1]), "each rest is at least as long as the one before"
    assert max(lengths[:-1]) >= 4 * lengths[0]
    assert max(lengths) <= 8 * 5 + 3, "but no longer than eight times"


def test_latency_moves_up_only_when_the_heavier_variant_would_hold_its_limit() -> None:
    policy = ShiftingPolicy(latency_ms=Limits(10, 8), patience=1, dwell=0, rest=0)
    assert policy.observe(Situation(0, 12.0), TWO) == 1
    assert policy.observe(Situation(1, 6.0), TWO) == 1, "6 ms here are 12 there"
    assert policy.observe(Situation(2, None), TWO) == 1, "nothing is known"
    assert policy.observe(Situation(3, 3.9), TWO) == 0
    assert policy.observe(Situation(4, 9.0), TWO) == 0


def test_a_slow_clock_presses() -> None:
    policy = ShiftingPolicy(clock_share=Limits(0.7, 0.9), patience=1, dwell=0, rest=0)
    said = [policy.observe(Situation(t, None, None, share), TWO) for t, share in enumerate((1.0, 0.6, 0.8, 0.95))]
    assert said == [0, 1, 1, 0]


def test_what_no_sensor_shows_does_not_press() -> None:
    policy = ShiftingPolicy(latency_ms=Limits(10, 8), temperature_c=Limits(80, 70), clock_share=Limits(0.7, 0.9))
    assert {policy.observe(Situation(float(t)), TWO) for t in range(20)} == {0}


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(40, 110), st.floats(0, 40)), min_size=1, max_size=200),
    st.integers(2, 4),
    st.integers(1, 4),
    st.floats(0, 5),
)
def test_it_moves_one_step_at_a_time_and_never_before_the_dwell(
    course_: list[tuple[float, float, float]], variants: int, patience: int, dwell: float
) -> None:
    policy = ShiftingPolicy(
        latency_ms=Limits(20, 10), temperature_c=Limits(80, 70), patience=patience, dwell=dwell, rest=dwell + 1
    )
    costs = [float(variants - n) for n in range(variants)]
    now, before, moved = 0.0, 0, None
    for pause, heat, latency in course_:
        now += pause
        present = policy.observe(Situation(now, latency, heat), costs)
        assert abs(present - before) <= 1
        assert 0 <= present < variants
        if present != before:
            assert moved is None or now - moved >= dwell
            moved = now
        before = present


@pytest.mark.parametrize(
    "make",
    [
        lambda: ShiftingPolicy(),
        lambda: ShiftingPolicy(latency_ms=Limits(8, 10)),
        lambda: ShiftingPolicy(clock_share=Limits(0.9, 0.7)),
        lambda: ShiftingPolicy(temperature_c=Limits(80, 80)),
        lambda: ShiftingPolicy(temperature_c=Limits(80, 70), patience=0),
        lambda: ShiftingPolicy(temperature_c=Limits(80, 70), dwell=9, rest=3),
    ],
)
def test_policies_that_make_no_sense(make: Callable[[], ShiftingPolicy]) -> None:
    with pytest.raises(UsageError):
        make()


def test_costs_are_learned_from_the_runs_around_a_move() -> None:
    book = CostBook(3)
    assert book.costs() == [1.0, 1.0, 1.0]
    book.moved(0, 1, 30.0)
    for value in (10.0, 11.0, 9.0, 500.0):
        book.took(1, value)
    assert book.costs() == [3.0, 1.0, 1.0]
    book.moved(2, 1, 4.0)
    for value in (8.0, 8.0, 8.0):
        book.took(1, value)
    assert book.costs() == [6.0, 2.0, 1.0]


def test_the_hottest_part_counts_and_idle_devices_do_not() -> None:
    machine = MachineReading((1800.0, 2000.0), 2000.0, {"package": 61.0, "board": 40.0})
    idle = DeviceReading("a", temperature_c=83.0, clock_mhz=300.0, clock_limit_mhz=2000.0, throttled=())
    held = DeviceReading("b", temperature_c=70.0, clock_mhz=1000.0, clock_limit_mhz=2000.0, throttled=("heat",))
    assert hottest(machine, (idle, held)) == 83
    assert hottest(MachineReading(), ()) is None
    assert lowest_share(machine, (idle,)) == 0.9
    assert lowest_share(machine, (idle, held)) == 0.5
    assert lowest_share(MachineReading(), ()) is None


class Thermometer:
    """Sensors that say what the test wants, and count how often they are read."""

    def __init__(self) -> None:
        self.celsius, self.reads = 40.0, 0

    def read(self) -> MachineReading:
        self.reads += 1
        return MachineReading(temperatures_c={"package": self.celsius})


class NoDevices:
    def read(self) -> tuple[DeviceReading, ...]:
        return ()


def test_sensors_are_not_read_more_often_than_asked_for() -> None:
    sensors, now = Thermometer(), [0.0]
    situation = MachineSituation(1.0, linux=sensors, nvml=NoDevices(), clock=lambda: now[0])  # type: ignore[arg-type]
    assert situation(5.0) == Situation(0.0, 5.0, 40.0, None)
    sensors.celsius, now[0] = 90.0, 0.5
    assert situation(None).temperature_c == 40
    now[0] = 1.5
    assert situation(None).temperature_c == 90
    assert sensors.reads == 2


@pytest.fixture
def bundles(tmp_path: Path) -> dict[str, Path]:
    """Two models of one task, told apart by their entropy paths."""
    return {
        "full": write_pocket_bundle(tmp_path / "full", task="seg", context="zigzag"),
        "tiny": write_pocket_bundle(tmp_path / "tiny", task="seg", context="checkerboard"),
    }


def opened(bundles: dict[str, Path], heat: list[float], side: str = "encode") -> VariantSession:
    return VariantSession.open(
        bundles,
        ShiftingPolicy(temperature_c=Limits(80, 70), patience=1, dwell=0, rest=0),
        situation=lambda latency: Situation(0.0, latency, heat[0]),
        side=side,
        backend=PocketBackend(),
    )


def test_streams_say_which_variant_wrote_them_and_any_receiver_picks_it(bundles: dict[str, Path]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    heat = [40.0]
    with opened(bundles, heat) as session, opened(bundles, [40.0]) as receiver:
        cool = session.encode(picture)
        heat[0] = 90.0
        hot = session.encode(picture)
        heat[0] = 50.0
        again = session.encode(picture)
        assert [session.variant_of(data) for data in (cool, hot, again)] == [("full",), ("tiny",), ("full",)]
        assert [(shift.source, shift.target) for shift in session.shifts] == [("full", "tiny"), ("tiny", "full")]
        assert "90 °C" in session.shifts[0].reason
        assert cool == again != hot
        for number, data in ((0, cool), (1, hot)):
            alone = session.variants[number].session
            assert np.array_equal(receiver.decode(data).mask, alone.decode(data).mask)  # type: ignore[union-attr]
        assert receiver.present.name == "full", "what is decoded moves nothing on the encoding side"
        assert receiver.shifts == []


def test_variants_of_one_entropy_path_read_each_others_streams_and_the_decoder_may_shift(tmp_path: Path) -> None:
    bundles = {
        "one": write_pocket_bundle(tmp_path / "one", task="seg"),
        "other": write_pocket_bundle(tmp_path / "other", task="seg"),
    }
    picture = np.full((64, 64, 3), 90, np.uint8)
    heat = [40.0]
    with opened(bundles, heat, side="decode") as session:
        data = session.encode(picture)
        assert session.variant_of(data) == ("one", "other")
        first = session.decode(data)
        heat[0] = 99.0
        second = session.decode(data)
        assert session.present.name == "other"
        assert len(session.variants[0].milliseconds) == len(session.variants[1].milliseconds) == 1
        assert np.array_equal(first.mask, second.mask)  # type: ignore[union-attr]


def test_a_stream_of_none_of_them(bundles: dict[str, Path], tmp_path: Path) -> None:
    only = {name: bundles[name] for name in ("full",)} | {
        "copy": write_pocket_bundle(tmp_path / "copy", task="seg", context="zigzag")
    }
    with opened(bundles, [90.0]) as sender, opened(only, [40.0]) as receiver:
        data = sender.encode(np.zeros((64, 64, 3), np.uint8))
        with pytest.raises(WrongModelError, match="not held here"):
            receiver.decode(data)


def test_what_does_not_fit_together_is_refused_and_closed(bundles: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to move between"):
        opened({"full": bundles["full"]}, [40.0])
    other = bundles | {"boxes": write_pocket_bundle(tmp_path / "boxes", task="det")}
    with pytest.raises(UsageError, match="other results"):
        opened(other, [40.0])
    with pytest.raises(UsageError, match="no such side"):
        opened(bundles, [40.0], side="both")
