"""What each graph of a session gets when a photograph is encoded and decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.session import Session


def inputs_of_graphs(session: Session, pixels: npt.NDArray[np.uint8]) -> dict[str, dict[str, Any]]:
    """Arrays by the names of graph and input. Later runs of the session are watched, too.

    Args:
        session: of a bundle.
        pixels: the photograph, uint8 [H, W, 3].
    """
    seen: dict[str, dict[str, Any]] = {}

    def watched(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def kept(inputs: Any) -> Any:
            seen[name] = {key: np.array(value) for key, value in inputs.items()}
            return run(inputs)

        return kept

    for name, graph in session.graphs.by_name.items():
        graph.run = watched(name, graph.run)  # type: ignore[method-assign]
    session.decode(session.encode(pixels))
    return seen
