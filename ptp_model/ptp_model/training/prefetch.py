"""Batches prepared by threads while a step computes; the batches are those that the step would have made itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """A source of batches that works ahead; a context manager, which stops the threads.

    Reading, scaling and cutting are done by Pillow and numpy, which let other threads run meanwhile.

    Args:
        source: (number, batch size) → batch; depends on these alone and may be called from several threads.
        workers: threads; 0: the source is simply called.
        ahead: how many batches are kept ready.
    """

    def __init__(self, source: Callable[[int, int], T], workers: int, ahead: int = 8) -> None:
        self._source, self._ahead = source, ahead
        self._pool = ThreadPoolExecutor(workers, "crops") if workers else None
        self._lock = threading.Lock()
        self._pending: dict[tuple[int, int], Future[T]] = {}
        self._next = 0

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, number: int, size: int) -> T:
        """The batch with this number; those that follow it are begun."""
        if self._pool is None:
            return self._source(number, size)
        with self._lock:
            self._next = max(self._next, number)
            while self._next <= number + self._ahead:
                self._pending[self._next, size] = self._pool.submit(self._source, self._next, size)
                self._next += 1
            ready = self._pending.pop((number, size), None)
        return self._source(number, size) if ready is None else ready.result()
