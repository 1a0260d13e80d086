"""Engines that were built before, by everything that they depend on.

Plans are not reproducible byte for byte, so an engine is found by what went into it, never by its own digest: the ONNX
bytes, the builder and its version, the shapes, the devices, the flags and, where it was built for the device at hand,
that device. What is read is verified; what is damaged is forgotten and built again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Bytes of all engines together, above which those that were not used for longest are removed.
MOST_BYTES = 4 << 30
#: Raised whenever the same request would give another engine.
RULES = 1

_PLAN, _REPORT = "engine.plan", "report.json"
_log = logging.getLogger(__name__)


def cache_key(facts: Mapping[str, Any]) -> str:
    """The name of an engine in the cache, from JSON values that say all that it depends on."""
    text = json.dumps({"rules": RULES} | dict(facts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class EngineCache:
    """A folder of engines. It is a convenience: one that cannot be read or written is as good as empty.

    Args:
        folder: need not exist.
        most_bytes: see :data:`MOST_BYTES`.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._most_bytes = most_bytes

    def find(self, key: str) -> tuple[bytes, dict[str, Any]] | None:
        """The plan and the report of its build, or None."""
        entry = self.folder / key
        if not entry.is_dir():
            return None
        try:
            report = json.loads((entry / _REPORT).read_text(encoding="utf-8"))
            plan = (entry / _PLAN).read_bytes()
            whole = isinstance(report, dict) and report.get("plan_sha256") == hashlib.sha256(plan).hexdigest()
        except (OSError, ValueError) as error:
            _log.debug("the cached engine %s cannot be read: %s", key, error)
            whole = False
        if not whole:
            shutil.rmtree(entry, ignore_errors=True)
            return None
        try:
            os.utime(entry)
        except OSError as error:
            _log.debug("a cache that cannot be written: %s", error)
        return plan, report

    def keep(self, key: str, plan: bytes, report: Mapping[str, Any]) -> None:
        """Add an engine, whole or not at all, and forget old ones where they are too many."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{key[:16]}.", suffix=".partial", dir=self.folder))
        except OSError as error:
            _log.debug("engines are not cached: %s", error)
            return
        try:
            (beside / _PLAN).write_bytes(plan)
            document = dict(report) | {"plan_sha256": hashlib.sha256(plan).hexdigest()}
            (beside / _REPORT).write_text(json.dumps(document), encoding="utf-8")
            # A folder of that name means that somebody else built the same engine meanwhile.
            os.rename(beside, self.folder / key)
        except OSError as error:
            _log.debug("the engine %s is not cached: %s", key, error)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._forget_old(key)

    def _forget_old(self, newest: str) -> None:
        entries = []
        for entry in self.folder.iterdir():
            try:
                if entry.is_dir() and not entry.name.startswith("."):
                    size = sum(file.stat().st_size for file in entry.iterdir())
                    entries.append((entry.name == newest, entry.stat().st_mtime, size, entry))
            except OSError:
                continue  # removed by somebody else meanwhile
        total = sum(size for _, _, size, _ in entries)
        for is_newest, _, size, entry in sorted(entries):
            if total <= self._most_bytes or is_newest:
                return
            shutil.rmtree(entry, ignore_errors=True)
            total -= size
