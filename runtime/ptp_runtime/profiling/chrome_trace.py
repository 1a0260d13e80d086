"""A profile as a Chrome trace, for Perfetto (ui.perfetto.dev) and chrome://tracing.

Format: "Trace Event Format", JSON object form; complete events (``ph`` X), counters (C) and metadata (M); microseconds.
Process 1 holds the runs in the middle and the slowest runs, a thread each; process 2 every run of every window, by the
clock of the measurement, and what the sensors showed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ptp_runtime.profiling.stages import SIDES

_WATERFALLS, _TIMELINE = 1, 2


def trace_of(document: Mapping[str, Any]) -> bytes:
    """The trace's file.

    Args:
        document: see :mod:`ptp_runtime.profiling.schema`.
    """
    events = [*_waterfalls(document), *_timeline(document)]
    other = {"machine": document["machine"]["processor"], "backend": document["settings"]["backend"]}
    whole = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}
    return json.dumps(whole, ensure_ascii=False, allow_nan=False).encode("utf-8")


def _waterfalls(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield _name("process_name", _WATERFALLS, 0, "one run: the median and the slowest")
    for number, fall in enumerate(document["waterfalls"], start=1):
        thread = number * 100
        yield _name("thread_name", _WATERFALLS, thread, f"{fall['side']}, {fall['which']} run")
        photo = document["photos"][fall["photo"]]["name"]
        yield _span(fall["side"], "run", 0.0, fall["total"], _WATERFALLS, thread, {"photo": photo})
        threads = sorted({piece["thread"] for piece in fall["pieces"]} | {0})
        for piece in fall["pieces"]:
            yield _span(
                piece["stage"],
                "critical" if piece["critical"] else "beside",
                piece["start"],
                piece["end"] - piece["start"],
                _WATERFALLS,
                thread + threads.index(piece["thread"]),
                {"critical path": piece["critical"]},
            )


def _timeline(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield _name("process_name", _TIMELINE, 0, "every run")
    subjects = list(document["windows"][0]["runs"])
    for number, subject in enumerate(subjects, start=1):
        yield _name("thread_name", _TIMELINE, number, subject)
    for count, window in enumerate(document["windows"]):
        for number, subject in enumerate(subjects, start=1):
            for side in SIDES:
                runs = window["runs"][subject][side]
                for start, total, photo in zip(runs["start"], runs["total"], runs["photo"], strict=True):
                    arguments = {"window": count, "kept": window["kept"], "photo": document["photos"][photo]["name"]}
                    yield _span(side, subject, start * 1e3, total, _TIMELINE, number, arguments)
        machine = window["machine"]
        clock = min(machine["clocks_mhz"], default=None)
        hottest = max(machine["temperatures_c"].values(), default=None)
        for name, value in (("slowest core, MHz", clock), ("hottest sensor, °C", hottest), ("load", machine["load"])):
            if value is not None:
                yield {
                    "name": name,
                    "ph": "C",
                    "ts": window["start"] * 1e6,
                    "pid": _TIMELINE,
                    "args": {"value": value},
                }


def _span(
    name: str, category: str, start: float, duration: float, process: int, thread: int, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Milliseconds in, a complete event out."""
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": round(start * 1e3, 3),
        "dur": round(duration * 1e3, 3),
        "pid": process,
        "tid": thread,
        "args": dict(arguments),
    }


def _name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}
