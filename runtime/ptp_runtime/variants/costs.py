"""How much longer one variant takes than its lighter neighbour, learned from the moves themselves.

What the heavier variant took an hour ago, on a hot machine, cannot be compared with what the lighter one takes now.
What both took just before and just after a move can: the situation was the same.
"""

from __future__ import annotations

from statistics import median

FIRST_RUNS = 3
"""Runs after a move that are compared with those before it."""


class CostBook:
    """Ratios between neighbours. Until a pair has been compared it counts as equal, so that the first attempt is made.

    Args:
        variants: how many.
    """

    def __init__(self, variants: int) -> None:
        self._ratios = [1.0] * (variants - 1)
        self._before: tuple[int, int, float] | None = None
        self._after: list[float] = []

    def moved(self, source: int, target: int, usual: float | None) -> None:
        """Note a move between neighbours.

        Args:
            source, target: numbers of the variants.
            usual: milliseconds that the source took before it; None where nothing is known.
        """
        self._before, self._after = (None if usual is None else (source, target, usual)), []

    def took(self, number: int, milliseconds: float) -> None:
        """Note what a variant took."""
        if self._before is None or number != self._before[1]:
            return
        self._after.append(milliseconds)
        if len(self._after) == FIRST_RUNS:
            source, target, usual = self._before
            now = max(median(self._after), 1e-9)
            self._ratios[min(source, target)] = usual / now if source < target else now / max(usual, 1e-9)
            self._before = None

    def costs(self) -> list[float]:
        """Of each variant, relative to the lightest."""
        costs = [1.0]
        for ratio in reversed(self._ratios):
            costs.append(costs[-1] * ratio)
        return costs[::-1]
