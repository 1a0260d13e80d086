"""What a stored profile must look like: a file may be truncated, edited, or another program's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ptp_runtime.errors import UsageError

FORMAT = "ptp-profile"
VERSION = 1
LIMIT_BYTES = 512 << 20

NUMBER = "number"
TEXT = "string"
FLAG = "boolean"


class Optional:
    """Null, or a value of a shape."""

    def __init__(self, shape: object) -> None:
        self.shape = shape


class MapOf:
    """An object with any keys, all of whose values have one shape."""

    def __init__(self, shape: object) -> None:
        self.shape = shape


_FIGURES = dict.fromkeys(("p50", "p90", "p99", "p99.9", "mean", "least", "most", "runs"), NUMBER)
_TOTAL = {"name": TEXT, "photos_per_second": NUMBER, "megapixels_per_second": NUMBER, **_FIGURES}
_STAGE = {"side": TEXT, "stage": TEXT, "share": NUMBER, **_TOTAL}
_RATIO = {"ratio": NUMBER, "low": NUMBER, "high": NUMBER}
_RUNS: dict[str, object] = {
    "stages": MapOf([NUMBER]),
    **{name: [NUMBER] for name in ("photo", "round", "start", "total", "cpu")},
}
_MACHINE = {
    "clocks_mhz": [NUMBER],
    "temperatures_c": MapOf(NUMBER),
    "load": Optional(NUMBER),
    "steal_ms": Optional(NUMBER),
    "waiting_ms": Optional(NUMBER),
    "throttle_events": Optional(NUMBER),
    "quota_throttled_ms": Optional(NUMBER),
    "clock_limit_mhz": Optional(NUMBER),
}
_DEVICE = {
    "name": TEXT,
    "temperature_c": Optional(NUMBER),
    "clock_mhz": Optional(NUMBER),
    "clock_limit_mhz": Optional(NUMBER),
    "memory_bytes": Optional(NUMBER),
    "power_w": Optional(NUMBER),
    "throttled": [TEXT],
}

SHAPE: dict[str, object] = {
    "bundle": {"manifest_sha256": TEXT, "task": TEXT, "identity": TEXT, "mode": TEXT, "precisions": MapOf(TEXT)},
    "machine": {"processor": TEXT, "cores": NUMBER, "system": TEXT, "memory_bytes": NUMBER, "devices": [TEXT]},
    "software": MapOf(TEXT),
    "settings": {
        "backend": TEXT,
        "entropy_backend": TEXT,
        "reason": TEXT,
        "threads": NUMBER,
        "numba_threads": NUMBER,
        "rate": NUMBER,
        "environment": MapOf(TEXT),
    },
    "photos": [{"name": TEXT, "height": NUMBER, "width": NUMBER, "sha256": TEXT, "stream_bytes": NUMBER}],
    "rule": {"sentence": TEXT, "rounds": NUMBER},
    "stable": FLAG,
    "kept_windows": NUMBER,
    "runs": NUMBER,
    "resolved": [TEXT],
    "totals": [_TOTAL],
    "stages": [_STAGE],
    "rivals": [{"name": TEXT, "provider": TEXT, "totals": [_TOTAL], "stages": [_STAGE], "ratios": MapOf(_RATIO)}],
    "tails": [
        {
            "side": TEXT,
            "runs": NUMBER,
            "usual": NUMBER,
            "slow": NUMBER,
            "more_computed": NUMBER,
            "excess": MapOf(NUMBER),
            "sentence": TEXT,
        }
    ],
    "waterfalls": [
        {
            "side": TEXT,
            "which": TEXT,
            "photo": NUMBER,
            "total": NUMBER,
            "pieces": [{"stage": TEXT, "start": NUMBER, "end": NUMBER, "thread": NUMBER, "critical": FLAG}],
        }
    ],
    "cold_start": Optional({"milliseconds": MapOf(NUMBER), "peak_bytes": MapOf(NUMBER), "rounds": NUMBER}),
    "device_memory_bytes": MapOf(NUMBER),
    "layers": MapOf([{"name": TEXT, "operator": TEXT, "milliseconds": NUMBER}]),
    "sensors": {"sentences": [TEXT]},
    "windows": [
        {
            "start": NUMBER,
            "kept": FLAG,
            "machine": _MACHINE,
            "devices": [_DEVICE],
            "runs": MapOf({"encode": _RUNS, "decode": _RUNS}),
        }
    ],
}
"""Of a document: what every reader of ours relies on. Further fields are allowed."""


def read_profile(path: Path) -> dict[str, Any]:
    """A stored profile.

    Raises:
        UsageError: not there, too large, no JSON, of another version, or a field is missing or of another kind.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise _no_profile(path, error.strerror or str(error)) from error
    if len(data) > LIMIT_BYTES:
        raise _no_profile(path, f"more than {LIMIT_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _no_profile(path, f"no JSON: {type(error).__name__}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _no_profile(path, "another kind of file")
    if document.get("version") != VERSION:
        raise UsageError(
            f"{path} is a profile of another version",
            expected=str(VERSION),
            got=repr(document.get("version")),
            hint="measure again with this ptp-deploy",
        )
    check(document, SHAPE, str(path), "")
    _check_runs(document, str(path))
    return document


def check(value: object, shape: object, file: str, where: str) -> None:
    """Raise :class:`UsageError` unless a value has a shape; the message names the first field that does not fit."""
    if isinstance(shape, Optional):
        if value is not None:
            check(value, shape.shape, file, where)
        return
    if isinstance(shape, MapOf):
        _require(isinstance(value, dict), "an object", value, file, where)
        if isinstance(value, dict):
            for key, item in value.items():
                check(item, shape.shape, file, f"{where}.{key}")
        return
    if isinstance(shape, list):
        _require(isinstance(value, list), "a list", value, file, where)
        if isinstance(value, list):
            for number, item in enumerate(value):
                check(item, shape[0], file, f"{where}[{number}]")
        return
    if isinstance(shape, dict):
        _require(isinstance(value, dict), "an object", value, file, where)
        if isinstance(value, dict):
            for key, inner in shape.items():
                _require(key in value, "the field", value.get(key), file, f"{where}.{key}")
                check(value[key], inner, file, f"{where}.{key}")
        return
    _require(_is(value, str(shape)), f"a {shape}", value, file, where)


def _is(value: object, kind: str) -> bool:
    if kind == NUMBER:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, str if kind == TEXT else bool)


def _check_runs(document: dict[str, Any], file: str) -> None:
    """Every list of a window is as long as its others, and there is something to show."""
    windows, kept = document["windows"], document["kept_windows"]
    _require(bool(windows) and bool(document["photos"]), "windows and photos", None, file, ".windows")
    _require(kept == sum(window["kept"] for window in windows) >= 1, "as many as are kept", kept, file, ".kept_windows")
    names = set(windows[0]["runs"])
    _require("ours" in names, "our own runs", sorted(names), file, ".windows[0].runs")
    for number, window in enumerate(windows):
        where = f".windows[{number}].runs"
        _require(set(window["runs"]) == names, ", ".join(sorted(names)), sorted(window["runs"]), file, where)
        for runs in (runs for sides in window["runs"].values() for runs in sides.values()):
            count = len(runs["total"])
            lists = (*(runs[name] for name in ("photo", "round", "start", "cpu")), *runs["stages"].values())
            _require(count > 0 and all(len(one) == count for one in lists), f"{count} values a list", None, file, where)
            valid = all(0 <= photo < len(document["photos"]) and photo == int(photo) for photo in runs["photo"])
            _require(valid, "numbers of photos", None, file, where)


def _require(right: bool, expected: str, value: object, file: str, where: str) -> None:
    if not right:
        raise UsageError(
            f"{file} is no whole profile: {where.lstrip('.') or 'the document'}",
            expected=expected,
            got=repr(value)[:80],
            hint="measure again",
        )


def _no_profile(path: Path, got: str) -> UsageError:
    return UsageError(
        f"{path} is no profile", expected="a file that ptp profile --json wrote", got=got, hint="check the path"
    )


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
