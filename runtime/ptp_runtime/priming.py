"""Compiling every kernel once, so that no later process waits for a compiler: ``ptp doctor --prime``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Primed:
    """What priming did.

    Attributes:
        seconds: it took; well below one where all was there already.
        compiled: kernels that came from the compiler.
        cached: kernels that came from the cache.
        folders: where the cache is; empty where nothing can be written, so that every process compiles for itself.
    """

    seconds: float
    compiled: int
    cached: int
    folders: tuple[Path, ...]


def prime() -> Primed:
    """Load or compile every kernel that coding or a task may call, for this processor and this installation.

    The cache belongs to a processor's features and to the versions of numba and of this package: in an image for many
    machines, prime where it runs, or set ``NUMBA_CPU_NAME`` for all of them.
    """
    start = time.perf_counter()
    from ptp_runtime.coder import warm_up

    warm_up()
    task_kernels = import_module("ptp_runtime.tasks.kernels")
    seconds = time.perf_counter() - start
    found = list(_dispatchers(import_module("ptp_runtime.coder"), task_kernels))
    compiled = sum(sum(dispatcher.stats.cache_misses.values()) for dispatcher in found)
    cached = sum(sum(dispatcher.stats.cache_hits.values()) for dispatcher in found)
    folders = {Path(dispatcher.stats.cache_path) for dispatcher in found if dispatcher.stats.cache_path}
    return Primed(seconds, compiled, cached, tuple(sorted(folders)))


def _dispatchers(*packages: Any) -> Iterable[Any]:
    """The compiled functions of modules, and of the modules directly in packages, each once."""
    from numba.core.dispatcher import Dispatcher

    seen: set[int] = set()
    for package in packages:
        modules = [package, *(value for value in vars(package).values() if type(value) is type(package))]
        for module in modules:
            for value in vars(module).values():
                if isinstance(value, Dispatcher) and id(value) not in seen:
                    seen.add(id(value))
                    yield value
