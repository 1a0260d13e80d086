"""Starting fresh processes one after another, and the median of what they took."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptp_runtime.errors import EngineError
from ptp_runtime.images import Pixels
from ptp_runtime.profiling.percentiles import median

_WORKER = Path(__file__).with_name("worker.py")
_ROOT = Path(__file__).resolve().parents[3]
_LIMIT_SECONDS = 600.0


@dataclass(frozen=True)
class ColdStart:
    """Medians over fresh processes: senders, and receivers of what these sent.

    Attributes:
        milliseconds: by phase: ``interpreter`` (Python itself), ``import``, ``open``, ``first encode``, ``first
            decode``, and the second ones for comparison.
        peak_bytes: the most memory that a process held up to the end of each phase: of the sender up to ``open``.
        rounds: how many processes of each kind.
    """

    milliseconds: Mapping[str, float]
    peak_bytes: Mapping[str, float]
    rounds: int

    def until(self, phase: str) -> float:
        """Milliseconds from the start of a process to the end of its ``first encode`` or ``first decode``."""
        return sum(self.milliseconds[name] for name in ("interpreter", "import", "open", phase))


def cold_start(
    bundle: Path,
    pixels: Pixels,
    *,
    backend: str = "auto",
    threads: int | None = None,
    rate: int | None = None,
    options: Mapping[str, Any] | None = None,
    rounds: int = 3,
) -> ColdStart:
    """Start ``rounds`` pairs of processes; one pair before them fills the caches of files and of compiled kernels.

    Args:
        bundle: the directory.
        pixels: what is encoded.
        backend, threads, rate: as for ``Session.open`` and ``Session.encode``.
        options: further arguments of ``Session.open``.
        rounds: at least 1.

    Raises:
        EngineError: a fresh process does not do what this one does.
    """
    found: dict[str, dict[str, list[float]]] = {"milliseconds": {}, "peak_bytes": {}}
    with tempfile.TemporaryDirectory(prefix="ptp-profile-") as folder:
        file = Path(folder) / "pixels.npy"
        np.save(file, pixels, allow_pickle=False)
        request = {
            "root": str(_ROOT),
            "bundle": str(Path(bundle).resolve()),
            "backend": backend,
            "threads": threads,
            "options": dict(options or {}),
            "rate": rate,
            "pixels": str(file),
            "stream": str(Path(folder) / "photo.ptp"),
        }
        for number in range(rounds + 1):
            for side in ("encode", "decode"):
                report = _report(request | {"side": side})
                for kind, values in found.items():
                    for phase, value in report[kind].items():
                        if number and (side == "encode" or kind == "milliseconds" or side in phase):
                            values.setdefault(phase, []).append(value)
    return ColdStart(
        {phase: median(values) for phase, values in found["milliseconds"].items()},
        {phase: median(values) for phase, values in found["peak_bytes"].items()},
        rounds,
    )


def _report(request: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps({**request, "started": time.monotonic()})
    command = [sys.executable, "-P", str(_WORKER), text]
    try:
        done = subprocess.run(  # noqa: S603 - our own file with our own request
            command, capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS
        )
        report: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2] or "{}")
    except subprocess.TimeoutExpired as error:
        raise _failed(f"nothing in {_LIMIT_SECONDS:.0f} s") from error
    except ValueError as error:
        raise _failed(done.stderr.strip().rpartition("\n")[2] or done.stdout[:200]) from error
    if "milliseconds" not in report:
        raise _failed(report.get("error") or done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")
    return report


def _failed(got: str) -> EngineError:
    return EngineError(
        "a fresh process does not do what this one does",
        expected="open, encode and decode",
        got=got,
        hint="run ptp doctor BUNDLE, or profile with --no-cold-start",
    )
