"""Our curve against every rival's, figure by figure."""

from __future__ import annotations

from collections.abc import Sequence

from ptp_export.evaluation.curves.bjontegaard import DeltaRate, RatePoint, delta_rate
from ptp_export.evaluation.evaluate import OURS, Point

FEATURE_ERROR = "feature_error"


def delta_rates(points: Sequence[Point]) -> dict[str, dict[str, DeltaRate]]:
    """Rival → figure → how much more rate ours needs, over every figure that both have.

    The feature error, of which less is better, is compared by its negative.
    """
    rivals = dict.fromkeys(point.setting.codec for point in points if point.setting.codec != OURS)
    names = [FEATURE_ERROR, *(dict.fromkeys(name for point in points for name in point.figures))]
    return {
        rival: {name: delta_rate(_curve(points, OURS, name), _curve(points, rival, name)) for name in names}
        for rival in rivals
    }


def _curve(points: Sequence[Point], codec: str, name: str) -> list[RatePoint]:
    own = [point for point in points if point.setting.codec == codec]
    if name == FEATURE_ERROR:
        return [RatePoint(point.bpp.value, -point.feature_error.value) for point in own]
    return [RatePoint(point.bpp.value, point.figures[name].value) for point in own if name in point.figures]
