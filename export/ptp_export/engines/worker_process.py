"""Running the worker: its log, its progress, its time limit, and its end whatever ends us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ptp_export.engines import worker

#: Told the share of a build that is done, from 0 to 1, and the builder's name for what it does.
ProgressCall = Callable[[float, str], None]


def run_worker(request: Path, log: Path, timeout_s: float, told: ProgressCall) -> str:
    """Build one engine in a process of its own; its output goes to the log.

    The worker ends with this call, also when that ends by an exception such as ``KeyboardInterrupt``; and it ends with
    this process, however that ends, because its standard input does.

    Returns:
        What went wrong, or an empty string.
    """
    reading, writing = os.pipe()
    with log.open("wb") as output, os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own file with our own request
                [sys.executable, str(Path(worker.__file__)), str(request), "--attached", str(writing)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        listener = threading.Thread(target=_listen, args=(lines, told), daemon=True)
        listener.start()
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return f"no result after {timeout_s:g} s"
        finally:
            _end(process)
            listener.join()
    if code < 0:
        return f"the builder was ended by {signal.Signals(-code).name}"
    return "" if code == 0 else _last_line(log) or f"exit code {code}"


def _listen(lines: object, told: ProgressCall) -> None:
    for line in lines:  # type: ignore[attr-defined]
        try:
            message = json.loads(line)
            told(float(message["share"]), str(message["phase"]))
        except (ValueError, KeyError, TypeError):
            continue  # half a line, of a worker that was ended


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the worker and what it started; it is the leader of a session of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""
