"""What a session is tuned for: one photo as soon as possible, or as many as possible in all.

Both profiles write the same streams from an integer entropy path. Which is which is measured in
``benchmarks/batches.py`` and explained in ``docs/latency.md``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ptp_runtime.errors import UsageError

SPEED_PROFILES = ("latency", "throughput")
"""What ``Session.open(profile=...)`` takes, and options of the commands."""


def available_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class SpeedProfile:
    """How the cores are shared out.

    Attributes:
        name: one of :data:`SPEED_PROFILES`.
        threads: inside one operator of a graph on the CPU.
        workers: photos of a batch that are worked on at a time.
    """

    name: str
    threads: int
    workers: int


def speed_profile(name: str, threads: int | None = None) -> SpeedProfile:
    """``latency``: every core works on one photo. ``throughput``: every core has a photo of its own.

    Args:
        name: of the profile.
        threads: inside one operator, where the caller knows better; the workers then share what is left.

    Raises:
        UsageError: no such profile, or fewer than one thread.
    """
    if name not in SPEED_PROFILES:
        raise UsageError("there is no such profile", expected=" or ".join(SPEED_PROFILES), got=repr(name))
    if threads is not None and threads < 1:
        raise UsageError("the number of threads is out of range", expected="at least 1", got=str(threads))
    cores = available_cores()
    if name == "latency":
        return SpeedProfile(name, threads or cores, 1)
    return SpeedProfile(name, threads or 1, max(1, cores // (threads or 1)))
