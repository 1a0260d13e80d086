"""Shards on Ray Data: one session in each actor, on as many machines as the cluster has. Only this file imports Ray.

The destination and the photos must be where every machine sees them under the same path, such as a network file system.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple
from typing import Any

from ptp_runtime.errors import MissingExtraError
from ptp_runtime.service.bulk.pool import Told
from ptp_runtime.service.bulk.shard import Opening, Shard, ShardWorker
from ptp_runtime.service.bulk.sources import Photo


def _text(shard: Shard) -> str:
    """A shard as text, which Ray keeps as it is; objects of ours it would have to pickle."""
    return json.dumps({"number": shard.number, "photos": [astuple(photo) for photo in shard.photos]})


def _shard(text: str) -> Shard:
    values = json.loads(text)
    return Shard(values["number"], [Photo(*photo) for photo in values["photos"]], {})


class _Actor:
    """What Ray runs: a worker that does the shards of a batch."""

    def __init__(self, opening: Opening) -> None:
        self._worker = ShardWorker(opening)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        results = [self._worker.work(_shard(text)) for text in batch["shard"]]
        return {"done": [done for done, _ in results], "failed": [failed for _, failed in results]}


def run_ray(opening: Opening, shards: Iterable[Shard], workers: int, told: Told) -> None:
    """Do all shards; arguments as :func:`~ptp_runtime.service.bulk.pool.run_pool`. Ray replaces actors that die.

    Raises:
        MissingExtraError: Ray Data is not installed.
        PtpError: a session does not open, or the destination cannot be written to.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            "Ray Data is not installed", expected="ray[data]", got=str(error), hint="pip install 'ptp-deploy[bulk-ray]'"
        ) from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    items = [{"shard": _text(shard)} for shard in shards]
    if not items:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    done = (
        ray.data.from_items(items, override_num_blocks=len(items))
        .map_batches(
            _Actor,
            fn_constructor_args=(opening,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
        )
        .iter_rows()
    )
    for row in done:
        told(int(row["done"]), int(row["failed"]))
