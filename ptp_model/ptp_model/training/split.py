"""The fixed split of labelled photographs: every fifth image, by sorted file stem, is never trained on."""

from __future__ import annotations

from collections.abc import Iterable

HOLD_OUT_EVERY = 5


def held_out(stems: Iterable[str]) -> frozenset[str]:
    """The stems held out of all training (teacher heads, stage 1 and stage 2 alike)."""
    return frozenset(sorted(stems)[::HOLD_OUT_EVERY])
