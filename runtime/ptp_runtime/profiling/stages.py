"""From the spans of one run to milliseconds a stage, each moment counted once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptp_runtime.stopwatch import Span

SIDES = ("encode", "decode")
"""The two halves of the work."""

BETWEEN = "between stages"
"""What a run spends outside of every stage: checks, and Python between them."""

_NAMES = {"image": "preprocess"}
_ORDER = (
    "preprocess",
    "analysis",
    "hyper",
    "context",
    "coder",
    "synthesis",
    "head",
    "postprocess",
    "copies",
    BETWEEN,
)


@dataclass(frozen=True)
class Piece:
    """A stretch of one run that belongs to one stage alone.

    Attributes:
        stage: its name, with the number of the step where it is a step of the context chain: ``context 3``.
        start: milliseconds since the run began.
        end: likewise.
        thread: which thread it was on, 0 for the one that started the run.
    """

    stage: str
    start: float
    end: float
    thread: int = 0


def stage_name(span: Span) -> str:
    """The stage as a profile calls it: steps of the context chain apart, all calls of the coder together."""
    name = _NAMES.get(span.stage, span.stage)
    return f"{name} {span.step}" if span.stage == "context" and span.step is not None else name


def pieces(spans: Iterable[Span], origin: float) -> tuple[Piece, ...]:
    """The spans of a run without what stands inside of them: a stage loses the time that its parts take.

    Args:
        spans: of one run, in any order.
        origin: when the run began, seconds of the same clock.

    Returns:
        In the order of their starts.
    """
    ordered = sorted(spans, key=lambda span: (span.start, span.depth))
    first_thread = ordered[0].thread if ordered else 0
    found: list[Piece] = []
    for number, span in enumerate(ordered):
        inner = [s for s in ordered[number + 1 :] if s.depth == span.depth + 1 and s.thread == span.thread]
        position = span.start
        thread = 0 if span.thread == first_thread else span.thread
        for part in inner:
            if part.start >= span.end:
                break
            found.append(_piece(span, position, part.start, origin, thread))
            position = part.end
        found.append(_piece(span, position, span.end, origin, thread))
    return tuple(sorted((piece for piece in found if piece.end > piece.start), key=lambda piece: piece.start))


def _piece(span: Span, start: float, end: float, origin: float, thread: int) -> Piece:
    return Piece(stage_name(span), (start - origin) * 1e3, (end - origin) * 1e3, thread)


def stage_milliseconds(parts: Iterable[Piece], total: float) -> dict[str, float]:
    """Milliseconds by stage; what no stage took of the total is :data:`BETWEEN`.

    Args:
        parts: of one run.
        total: how long the run took.
    """
    found: dict[str, float] = {}
    for piece in parts:
        found[piece.stage] = found.get(piece.stage, 0.0) + piece.end - piece.start
    found[BETWEEN] = max(0.0, total - sum(found.values()))
    return found


def in_order(names: Iterable[str]) -> list[str]:
    """Stages in the order of the work; those that are not known, behind the known ones."""

    def key(name: str) -> tuple[int, int, str]:
        base, _, step = name.rpartition(" ") if name.rpartition(" ")[2].isdigit() else (name, "", "")
        return _ORDER.index(base) if base in _ORDER else len(_ORDER), int(step or 0), name

    return sorted(set(names), key=key)


def critical(parts: Sequence[Piece]) -> tuple[bool, ...]:
    """Which pieces the end of the run waited for.

    From the end backwards: the piece that ended last before the moment at hand is on the path, and the next moment is
    its start. In a chain on one thread that is every piece; where threads run side by side it is one of them at a time.

    Args:
        parts: of one run.
    """
    marked = [False] * len(parts)
    moment = max((piece.end for piece in parts), default=0.0)
    for number in sorted(range(len(parts)), key=lambda i: parts[i].end, reverse=True):
        # A hair of overlap is the clock's.
        if parts[number].end <= moment + 1e-6:
            marked[number], moment = True, parts[number].start
    return tuple(marked)
