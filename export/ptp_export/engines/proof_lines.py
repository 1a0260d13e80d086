"""What a person is told about the proof of the engines' precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ptp_export.engines.engine_from_onnx import Engine


class WithEngines(Protocol):
    """A graph and its engines."""

    @property
    def name(self) -> str: ...

    @property
    def engines(self) -> Sequence[Engine]: ...


def proof_lines(graphs: Iterable[WithEngines]) -> list[str]:
    """A line for each level and reason: how many engines are proved how far, and what is missing for more."""
    by_level: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for graph in graphs:
        for engine in graph.engines:
            by_level.setdefault(engine.proof.level, []).append(graph.name)
            if engine.proof.missing:
                missing.setdefault(engine.proof.missing, []).append(graph.name)
    count = sum(len(names) for names in by_level.values())
    lines = [
        f"Precision of {len(names)} of {count} engines: proved on the {level}." for level, names in by_level.items()
    ]
    for reason, names in missing.items():
        named = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(
            f"Not proved on the engine: {named} ({reason.rstrip('.')}). The first load on a GPU proves it, or refuses."
        )
    return lines
