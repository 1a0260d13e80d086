"""What a destination remembers: the plan, which shards are done, and what became of each photo.

::

    DEST/bulk.json              the plan's identity; a run with another one is refused
    DEST/done/000012.json       shard 12 lies there whole: its files, what the index says, its failures
    DEST/index.jsonl            at the end: a line for each photo
    DEST/failures.jsonl         at the end: a line for each photo that failed, with why

A shard's record is written after its files. A kill between the two means that the shard is done again, with the same
bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptp_runtime.atomic import new_file, write_bytes
from ptp_runtime.errors import UsageError
from ptp_runtime.service.bulk.attempts import forget_attempts
from ptp_runtime.service.bulk.plan import Plan

_PLAN, _DONE = "bulk.json", "done"


class Journal:
    """The journal of one destination.

    Args:
        folder: the destination.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def opened(self, plan: Plan) -> Iterator[None]:
        """Begin or go on with a run; nobody else can work at the same destination while the block runs.

        Raises:
            UsageError: it was begun with something else, somebody is at it, or it is a folder with other things in it.
        """
        known = self.folder / _PLAN
        if self.folder.exists() and not known.exists() and any(self.folder.iterdir()):
            raise UsageError(
                f"{self.folder} holds other things",
                expected="a new folder, or one that a run began",
                hint="choose another",
            )
        try:
            (self.folder / _DONE).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be written to", got=error.strerror or str(error)) from error
        with _locked(self.folder):
            if known.exists():
                plan.require_same(_json(known), str(self.folder))
            else:
                write_bytes(known, _text(plan.identity))
            forget_attempts(self.folder)
            yield

    def done(self, plan: Plan) -> set[int]:
        """Numbers of the shards that lie there whole."""
        return {number for number in range(plan.shards) if self._record(number).exists()}

    def counts(self, number: int) -> tuple[int, int] | None:
        """How many photos of a shard are done and failed; None where it has no record."""
        if not self._record(number).exists():
            return None
        record = _json(self._record(number))
        return len(record["index"]), len(record["failures"])

    def record(self, number: int, files: Sequence[str], index: Sequence[Any], failures: Sequence[Any]) -> None:
        """Say that a shard is done."""
        write_bytes(self._record(number), _text({"files": files, "index": index, "failures": failures}))

    def finish(self, plan: Plan) -> tuple[int, int]:
        """Write failures and index, remove what killed writers left; returns how many photos are done and failed."""
        done = failed = 0
        self._sweep()
        with new_file(self.folder / "index.jsonl") as index, new_file(self.folder / "failures.jsonl") as failures:
            for number in range(plan.shards):
                record = _json(self._record(number))
                index.writelines(map(_line, record["index"]))
                failures.writelines(map(_line, record["failures"]))
                done, failed = done + len(record["index"]), failed + len(record["failures"])
        return done, failed

    def _sweep(self) -> None:
        forget_attempts(self.folder)
        for root, _, names in os.walk(self.folder):
            for name in names:
                if name.startswith(".") and name.endswith(".partial"):
                    (Path(root) / name).unlink(missing_ok=True)

    def _record(self, number: int) -> Path:
        return self.folder / _DONE / f"{number:06d}.json"


def _text(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")


def _line(values: Any) -> bytes:
    return (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read", expected="what a run wrote", got=str(error), hint="choose another destination"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder itself is locked, so that nothing is left of it when the process is killed."""
    import fcntl

    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"another run is at work in {folder}", hint="wait for it, or end it") from error
        yield
    finally:
        os.close(number)
