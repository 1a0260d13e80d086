"""A whole run: list, plan, do what is not done, write the index."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_runtime.bundle import Bundle
from ptp_runtime.service.bulk.formats import require_parquet
from ptp_runtime.service.bulk.journal import Journal
from ptp_runtime.service.bulk.plan import Choices, Plan
from ptp_runtime.service.bulk.pool import Told, run_pool
from ptp_runtime.service.bulk.ray_pool import run_ray
from ptp_runtime.service.bulk.shard import Opening, Shard
from ptp_runtime.service.bulk.sources import photos_of


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        photos: with a result.
        failed: without one.
        shards: in all.
        shards_before: that earlier runs had done.
    """

    photos: int
    failed: int
    shards: int
    shards_before: int


def run_bulk(
    bundle: str | os.PathLike[str],
    sources: Sequence[str],
    destination: str | os.PathLike[str],
    choices: Choices,
    *,
    workers: int,
    ray: bool = False,
    session: dict[str, Any] | None = None,
    began: Callable[[int, int], Told] = lambda photos, before: lambda done, failed: None,
) -> Summary:
    """Code all photos of the sources, or go on with it where an earlier run was ended.

    Args:
        bundle: path.
        sources: see :func:`~ptp_runtime.service.bulk.sources.photos_of`.
        destination: a new folder, or one that the same run began.
        choices: what decides about the results.
        workers: processes, or Ray's actors.
        ray: on Ray Data in place of a pool of processes.
        session: further arguments of :meth:`Session.open <ptp_runtime.Session.open>`.
        began: called with the number of photos, and of those that are done already; gives what is called after each
            shard.

    Raises:
        UsageError: the sources or the destination cannot be used.
        PtpError: a session does not open. What is done stays done.
    """
    opened = Bundle.open(bundle, choices.task)
    if choices.format == "parquet":
        require_parquet()
    plan = Plan.of(opened, choices, photos_of(sources))
    folder = Path(destination)
    journal = Journal(folder)
    with journal.opened(plan):
        before = journal.done(plan)
        told = began(len(plan.photos), sum(len(plan.shard(number)) for number in before))
        opening = Opening(str(Path(bundle).resolve()), str(folder.resolve()), choices, session or {})
        left = [Shard(number, plan.shard(number), {}) for number in range(plan.shards) if number not in before]
        if left:
            (run_ray if ray else run_pool)(opening, left, workers, told)
        photos, failed = journal.finish(plan)
    return Summary(photos, failed, plan.shards, len(before))
