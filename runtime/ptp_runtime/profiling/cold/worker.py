"""The fresh process: ``python worker.py REQUEST`` opens a bundle, does one half of the work twice, prints the times.

Started by its path: nothing of the package may be imported before the clock runs. The request is one JSON object:
``root`` (where the package lies), ``started`` (of the parent's monotonic clock), ``side`` (``encode`` or ``decode``),
``bundle``, ``backend``, ``threads``, ``options`` (further arguments of ``Session.open``), ``rate``, ``pixels`` (a file
``.npy``) and ``stream`` (the file that encoding writes and decoding reads).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTED = time.monotonic()


def peak_bytes() -> int:
    """The most memory that this process has held so far; 0 where the system does not say.

    Not ``ru_maxrss``: that one begins with what the parent held when it forked.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def run(request: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Do it.

    Returns:
        ``milliseconds`` and ``peak_bytes`` by phase, in order.
    """
    sys.path.insert(0, request["root"])
    milliseconds = {"interpreter": (STARTED - request["started"]) * 1e3}
    peaks = {"interpreter": float(peak_bytes())}

    def timed(phase: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        milliseconds[phase] = (time.perf_counter() - start) * 1e3
        peaks[phase] = float(peak_bytes())
        return result

    side, stream = request["side"], Path(request["stream"])
    session_class = timed("import", _session_class)
    settings = {"backend": request["backend"], "threads": request["threads"], **request["options"]}
    session = timed("open", lambda: session_class.open(request["bundle"], **settings))
    with session:
        if side == "encode":
            import numpy as np

            pixels = np.load(request["pixels"], allow_pickle=False)
            stream.write_bytes(timed("first encode", lambda: session.encode(pixels, rate=request["rate"])))
            timed("second encode", lambda: session.encode(pixels, rate=request["rate"]))
        else:
            data = stream.read_bytes()
            timed("first decode", lambda: session.decode(data))
            timed("second decode", lambda: session.decode(data))
    return {"milliseconds": milliseconds, "peak_bytes": peaks}


def _session_class() -> Any:
    import ptp_runtime

    return ptp_runtime.Session


def main(arguments: list[str]) -> int:
    """Print the report as one JSON object; an error becomes ``{"error": …}`` and exit code 1."""
    request = json.loads(arguments[0])
    try:
        report: dict[str, Any] = dict(run(request))
    except Exception as error:  # noqa: BLE001 - the parent reports it in its own words
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))  # noqa: T201 - the parent reads it
        return 1
    print(json.dumps(report))  # noqa: T201 - the parent reads it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
