"""When to move to a lighter variant, and when back: limits with hysteresis, patience and a minimum dwell.

The variants are numbered from 0, the one that is wanted, to the lightest. Three things can press: latency, temperature,
and a clock below what the machine can do. Each has an upper and a lower limit:

- *Pressed* is a situation in which any of them is beyond its upper limit. After ``patience`` such situations in a
  row, and not before ``dwell`` seconds on the present variant, the policy moves one variant down.
- *Relieved* is a situation in which all of them are within their lower limits, and latency would be, too, on the
  heavier variant: the present latency times the ratio of their costs. After ``patience`` of those, and not before
  ``rest`` seconds, it moves one up.
- In between it stays. A move up that is taken back within ``rest`` seconds doubles the rest before the next attempt, up
  to eight times: a machine that cannot hold the heavier variant is not asked every half minute.

Moving *before* the machine throttles is the point: a throttled processor takes minutes to cool down, a lighter model
keeps it where it is ("Play It Cool: Dynamic Shifting Prevents Thermal Throttling", arXiv 2206.10849).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptp_runtime.errors import UsageError

_LONGEST_REST = 8


@dataclass(frozen=True)
class Limits:
    """When something presses and when it is over. Between the two nothing changes.

    Attributes:
        press: beyond it, it presses.
        relieve: within it, the pressure is gone; on the easier side of ``press``.
    """

    press: float
    relieve: float


@dataclass(frozen=True)
class Situation:
    """What a policy is told; None: not known, so that it does not press.

    Attributes:
        seconds: of a clock that never goes back.
        latency_ms: of one piece of work on the present variant.
        temperature_c: of the hottest part.
        clock_share: the present clock over the highest one, 0 to 1.
    """

    seconds: float
    latency_ms: float | None = None
    temperature_c: float | None = None
    clock_share: float | None = None


class ShiftingPolicy:
    """See the module's docstring. Not for several threads at once.

    Args:
        latency_ms: upper limits: press above relieve; None: latency does not matter. Likewise:
        temperature_c: such as ``Limits(press=80, relieve=70)``.
        clock_share: lower limits: press below relieve, such as ``Limits(press=0.7, relieve=0.9)``.
        patience: how many situations in a row.
        dwell: seconds on a variant before the next move down.
        rest: seconds on a variant before a move up.

    Raises:
        UsageError: no limit at all, limits the wrong way round, or a number out of range.
    """

    def __init__(
        self,
        *,
        latency_ms: Limits | None = None,
        temperature_c: Limits | None = None,
        clock_share: Limits | None = None,
        patience: int = 3,
        dwell: float = 2.0,
        rest: float = 30.0,
    ) -> None:
        if latency_ms is None and temperature_c is None and clock_share is None:
            raise UsageError("a policy without limits never moves", expected="a limit of latency, temperature or clock")
        for what, limits, sign in (
            ("latency_ms", latency_ms, 1),
            ("temperature_c", temperature_c, 1),
            ("clock_share", clock_share, -1),
        ):
            if limits is not None and not (limits.press - limits.relieve) * sign > 0:
                raise UsageError(
                    f"the limits of {what} leave no room between them",
                    expected="relieve below press" if sign > 0 else "relieve above press",
                    got=f"press {limits.press}, relieve {limits.relieve}",
                )
        if patience < 1 or not 0 <= dwell <= rest:
            raise UsageError(
                "the policy's times are out of range",
                expected="patience of at least 1, and 0 ≤ dwell ≤ rest",
                got=f"patience {patience}, dwell {dwell}, rest {rest}",
            )
        self._latency, self._temperature, self._clock = latency_ms, temperature_c, clock_share
        self._patience, self._dwell, self._rest = patience, dwell, rest
        self._present = 0
        self._since: float | None = None
        self._pressed = self._relieved = 0
        self._moved_up_at: float | None = None
        self._factor = 1
        self.reason = "the variant that is wanted"

    @property
    def present(self) -> int:
        """The number of the variant that shall be used now."""
        return self._present

    def observe(self, situation: Situation, costs: Sequence[float]) -> int:
        """Take note of a situation, and say which variant shall be used from now on.

        Args:
            situation: the newest.
            costs: of each variant, how long it takes relative to the others; as many as there are variants.
        """
        now = situation.seconds
        if self._since is None:
            self._since = now
        pressing = self._pressing(situation)
        relieved = not pressing and self._is_relieved(situation, costs)
        self._pressed = self._pressed + 1 if pressing else 0
        self._relieved = self._relieved + 1 if relieved else 0
        stayed = now - self._since
        if self._pressed >= self._patience and self._present < len(costs) - 1 and stayed >= self._dwell:
            if self._moved_up_at is not None and now - self._moved_up_at < self._rest * self._factor:
                self._factor = min(2 * self._factor, _LONGEST_REST)
            self._move(self._present + 1, now, " and ".join(pressing))
        elif self._relieved >= self._patience and self._present > 0 and stayed >= self._rest * self._factor:
            self._moved_up_at = now
            self._move(self._present - 1, now, "everything is within its limits")
        elif self._moved_up_at is not None and self._present == 0 and stayed >= self._rest * _LONGEST_REST:
            self._factor = 1
        return self._present

    def _move(self, number: int, now: float, reason: str) -> None:
        self._present, self._since, self.reason = number, now, reason
        self._pressed = self._relieved = 0

    def _pressing(self, now: Situation) -> list[str]:
        """What is beyond its limit, in words."""
        found = []
        if self._latency is not None and now.latency_ms is not None and now.latency_ms > self._latency.press:
            found.append(f"latency {now.latency_ms:.1f} ms is above {self._latency.press:g}")
        limit, celsius = self._temperature, now.temperature_c
        if limit is not None and celsius is not None and celsius > limit.press:
            found.append(f"temperature {celsius:.0f} °C is above {limit.press:g}")
        if self._clock is not None and now.clock_share is not None and now.clock_share < self._clock.press:
            found.append(f"clock at {now.clock_share:.0%} is below {self._clock.press:.0%}")
        return found

    def _is_relieved(self, now: Situation, costs: Sequence[float]) -> bool:
        limit, celsius = self._temperature, now.temperature_c
        if limit is not None and celsius is not None and celsius > limit.relieve:
            return False
        if self._clock is not None and now.clock_share is not None and now.clock_share < self._clock.relieve:
            return False
        if self._latency is None or self._present == 0:
            return True
        if now.latency_ms is None:  # just moved: nothing is known yet
            return False
        return now.latency_ms * costs[self._present - 1] / costs[self._present] <= self._latency.relieve
