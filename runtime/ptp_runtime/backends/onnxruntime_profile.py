"""The file that ONNX Runtime's own profiler writes, summed by layer."""

from __future__ import annotations

import json

from ptp_runtime.backends.protocol import LayerTime
from ptp_runtime.errors import EngineError

_SUFFIX = "_kernel_time"


def layers_from_profile(text: str, runs: int) -> tuple[LayerTime, ...]:
    """Milliseconds of one run by layer, in the order of execution; the first run warms up and is left out.

    Args:
        text: the file: a Chrome trace whose events of the category ``Node`` are the executed layers.
        runs: how many runs after the first one are in it.

    Raises:
        EngineError: it is no such file, or shows other runs.
    """
    try:
        events = [event for event in json.loads(text) if event.get("cat") == "Node"]
        kernels = [
            (str(event["name"])[: -len(_SUFFIX)], str(event["args"]["op_name"]), float(event["dur"]) * 1e-3)
            for event in events
            if str(event["name"]).endswith(_SUFFIX)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(
            "ONNX Runtime's profile cannot be read", got=repr(error), hint="profile without --layers"
        ) from error
    if not kernels or len(kernels) % (runs + 1):
        raise EngineError(
            "ONNX Runtime's profile shows other runs than were made",
            expected=f"the layers of {runs + 1} runs",
            got=f"{len(kernels)} layers",
            hint="profile without --layers",
        )
    sums: dict[str, tuple[str, float]] = {}
    for name, operator, milliseconds in kernels[len(kernels) // (runs + 1) :]:
        sums[name] = operator, sums.get(name, (operator, 0.0))[1] + milliseconds
    return tuple(LayerTime(name, operator, total / runs) for name, (operator, total) in sums.items())
