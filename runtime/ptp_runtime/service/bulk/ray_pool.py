"""Shards on Ray Data: one session in each actor, on as many machines as the cluster has. Only this file imports Ray.

The destination and the photos must be where every machine sees them under the same path, such as a network file system.
Errors travel as text in the rows: what Ray makes of an exception can be shown, but not told apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

from ptp_runtime import errors
from ptp_runtime.errors import BackendError, MissingExtraError, PtpError, UsageError
from ptp_runtime.service.bulk.attempts import Attempts
from ptp_runtime.service.bulk.deaths import Deaths
from ptp_runtime.service.bulk.pool import Told
from ptp_runtime.service.bulk.shard import Opening, Shard, ShardWorker
from ptp_runtime.service.bulk.sources import Photo


def _text(shard: Shard) -> str:
    """A shard as text, which Ray keeps as it is; objects of ours it would have to pickle."""
    return json.dumps({"number": shard.number, "photos": [astuple(photo) for photo in shard.photos]})


def _shard(text: str) -> Shard:
    values = json.loads(text)
    return Shard(values["number"], [Photo(*photo) for photo in values["photos"]], {})


def _error_text(error: PtpError) -> str:
    names = ("message", "expected", "got", "hint")
    return json.dumps({"error": type(error).__name__} | {name: getattr(error, name) for name in names})


def _error(text: str) -> PtpError:
    values = json.loads(text)
    kind = getattr(errors, values.pop("error"), PtpError)
    made: PtpError = kind(values.pop("message"), **values)
    return made


class _Actor:
    """What Ray runs: a worker that does the shards of a batch."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._worker: ShardWorker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for text in batch["shard"]:
            try:
                rows.append((*self._done(_shard(text)), ""))
            except PtpError as error:
                rows.append((0, 0, _error_text(error)))
        return {name: [row[place] for row in rows] for place, name in enumerate(("done", "failed", "error"))}

    def _done(self, shard: Shard) -> tuple[int, int]:
        attempts, deaths = Attempts(Path(self._opening.destination), shard.number), Deaths()

        def told(photo: str, done: int) -> None:
            attempts.at(photo)
            if done:
                deaths.well()

        for photo in attempts.earlier():
            shard = deaths.blame(shard, photo, "its process ended")
        while True:
            if self._worker is None:
                self._worker = ShardWorker(self._opening)
            attempts.begin()
            try:
                counts = self._worker.work(shard, told)
            except BackendError as error:
                self._worker.close()
                self._worker = None
                shard = deaths.blame(shard, attempts.photo, error)
            else:
                attempts.end()
                return counts


def run_ray(opening: Opening, shards: Iterable[Shard], workers: int, told: Told) -> None:
    """Do all shards; arguments as :func:`~ptp_runtime.service.bulk.pool.run_pool`. Ray replaces actors that die.

    Raises:
        MissingExtraError: Ray Data is not installed.
        UsageError: fewer than one worker, or the destination cannot be written to.
        PtpError: a session does not open.
        BackendError: workers break, and not by a photo's fault; or Ray itself does. What is done stays done.
    """
    if workers < 1:
        raise UsageError("the number of workers is out of range", expected="at least 1", got=str(workers))
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            "Ray Data is not installed", expected="ray[data]", got=str(error), hint="pip install 'ptp-deploy[bulk-ray]'"
        ) from error
    items = [{"shard": _text(shard)} for shard in shards]
    if not items:
        return
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = (
            ray.data.from_items(items, override_num_blocks=len(items))
            .map_batches(
                _Actor,
                fn_constructor_args=(opening,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
            )
            .iter_rows()
        )
        for row in rows:
            if row["error"]:
                raise _error(row["error"])
            told(int(row["done"]), int(row["failed"]))
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise BackendError(
            "Ray ended the run",
            got=f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else ''}",
            hint="see Ray's own logs; the same command goes on where this run ended",
        ) from error
    finally:
        if ours:
            ray.shutdown()
