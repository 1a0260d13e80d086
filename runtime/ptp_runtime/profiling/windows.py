"""When measuring may stop: windows of runs, until the last ones agree.

A *window* is a fixed number of rounds, each of which runs every photo once. Its figure is the median over its runs, of
encoding and of decoding. The *kept* windows are the longest tail of windows in which the largest median is at most
``tolerance`` above the smallest, on both sides. Measuring ends as soon as at least ``least`` windows are kept, and then
the profile is stable; or at the limit of windows or seconds, and then it is not, which the profile says, and every
window counts. Figures come from the kept windows, so that a slow start does not count; single slow runs inside of them
do, because a median does not see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ptp_runtime.errors import UsageError


@dataclass(frozen=True)
class StabilityRule:
    """See the module's docstring.

    Attributes:
        rounds: of one window.
        least: how many windows must agree.
        most: windows at which measuring ends in any case.
        seconds: after which no further window begins.
        tolerance: 0.05 = 5 %.
        warmup: rounds before the first window.

    Raises:
        UsageError: a number out of range.
    """

    rounds: int = 10
    least: int = 5
    most: int = 40
    seconds: float = 60.0
    tolerance: float = 0.05
    warmup: int = 3

    def __post_init__(self) -> None:
        for name, low in (("rounds", 1), ("least", 2), ("most", 2), ("warmup", 1)):
            if getattr(self, name) < low:
                raise UsageError(
                    f"profile: {name} is out of range", expected=f"at least {low}", got=str(getattr(self, name))
                )
        if self.most < self.least:
            raise UsageError("profile: the limit of windows", expected=f"at least {self.least}", got=str(self.most))
        if not 0 < self.tolerance < 1:
            raise UsageError("profile: the tolerance", expected="between 0 and 1", got=str(self.tolerance))
        if self.seconds <= 0:
            raise UsageError("profile: the limit of seconds", expected="above 0", got=str(self.seconds))

    def kept(self, medians: Sequence[Mapping[str, float]]) -> int:
        """How many windows at the end agree.

        Args:
            medians: one mapping a window, by side.
        """
        for count in range(len(medians), 1, -1):
            tail = medians[len(medians) - count :]
            if all(self._agree([window[side] for window in tail]) for side in tail[0]):
                return count
        return min(1, len(medians))

    def _agree(self, values: Sequence[float]) -> bool:
        return max(values) <= min(values) * (1 + self.tolerance)

    def finished(self, medians: Sequence[Mapping[str, float]], elapsed: float) -> bool:
        """Whether no further window is wanted.

        Args:
            medians: see :meth:`kept`.
            elapsed: seconds since the first window began.
        """
        if self.kept(medians) >= self.least:
            return True
        return len(medians) >= self.most or (bool(medians) and elapsed >= self.seconds)

    def sentence(self) -> str:
        """For people."""
        return (
            f"windows of {self.rounds} rounds after {self.warmup} of warm-up, until the medians of encoding and"
            f" decoding of the last {self.least} or more lie within {self.tolerance:.0%}, at most {self.most} windows"
            f" or {self.seconds:.0f} s"
        )
