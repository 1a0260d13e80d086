"""Why the slow runs are slow: which stage took the time that they have more than the usual run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SLOWEST = 0.01
LEAST_RUNS = 5
SUBSTANTIAL = 0.05
WAITED = 0.25


@dataclass(frozen=True)
class Tail:
    """The slowest runs of one side beside the usual ones.

    Attributes:
        side: ``encode`` or ``decode``.
        runs: how many are looked at: the slowest hundredth, at least five.
        of: of how many.
        usual: median over all runs, milliseconds.
        slow: mean over the slowest.
        more_computed: how much more the process computed in the slowest runs, milliseconds of all its threads.
        excess: by stage, the mean of its time in the slowest runs less its median over all; the largest first.
    """

    side: str
    runs: int
    of: int
    usual: float
    slow: float
    more_computed: float
    excess: Mapping[str, float]

    @property
    def more(self) -> float:
        """How much longer the slowest runs take than the usual one, milliseconds."""
        return self.slow - self.usual

    def sentence(self) -> str:
        """For people."""
        start = (
            f"the slowest {self.runs} of {self.of} {self.side}s take {self.slow:.1f} ms,"
            f" {self.more:.1f} ms more than the median of {self.usual:.1f} ms"
        )
        if self.usual <= 0 or self.more < SUBSTANTIAL * self.usual:
            return f"{start}: there is no tail to speak of"
        gained = {stage: value for stage, value in self.excess.items() if value > 0}
        leaders = list(gained.items())[:3]
        names = ", ".join(f"{stage} +{value:.1f} ms ({value / self.more:.0%})" for stage, value in leaders)
        first = leaders[0][1] / self.more if leaders else 0.0
        where = "mostly in one stage" if first >= 0.6 else "spread over the stages"
        return f"{start}, {where}: {names}; {self._cause()}"

    def _cause(self) -> str:
        """Waiting and computing look alike on a clock, and not in the processor's accounts."""
        if self.more_computed < WAITED * self.more:
            return (
                f"they computed only {max(self.more_computed, 0.0):.1f} ms more than usual, so they waited: for a"
                " processor that others had, or for memory or a disk"
            )
        return f"they computed {self.more_computed:.1f} ms more than usual, so the work itself took longer"


def tail(side: str, totals: Sequence[float], computed: Sequence[float], stages: Mapping[str, Sequence[float]]) -> Tail:
    """Look at the slowest runs of a side.

    Each run is compared with the runs of its own photo only if the caller gives the runs of one photo, or times from
    which the photo's median was taken; of photos of several sizes, the largest would be the tail.

    Args:
        side: for people.
        totals: milliseconds of each run, at least one.
        computed: milliseconds that the process computed in each run.
        stages: by stage, milliseconds of each run.
    """
    whole = np.asarray(totals, np.float64)
    count = min(whole.size, max(LEAST_RUNS, round(whole.size * SLOWEST)))
    slowest = np.argsort(whole, kind="stable")[-count:]
    excess = {
        name: float(np.mean(np.asarray(values, np.float64)[slowest]) - np.median(values))
        for name, values in stages.items()
    }
    cpu = np.asarray(computed, np.float64)
    more_computed = float(cpu[slowest].mean() - np.median(cpu))
    ordered = dict(sorted(excess.items(), key=lambda item: -item[1]))
    usual, slow = float(np.median(whole)), float(whole[slowest].mean())
    return Tail(side, int(count), int(whole.size), usual, slow, more_computed, ordered)
