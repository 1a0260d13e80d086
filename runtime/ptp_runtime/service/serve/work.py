"""Who works on the photos: as many threads as the sessions have workers, behind a queue that ends somewhere."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ptp_runtime.errors import DeadlineError, OverloadedError, TooLargeError
from ptp_runtime.service.serve.limits import Limits

Result = TypeVar("Result")


class PixelBudget:
    """Pixels that may be worked on at a time. Who comes first is served first, so that a large photo is not starved.

    Attributes:
        pixels: in all.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._free = pixels
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    def require(self, pixels: int, what: str) -> None:
        """Refuse what would never fit.

        Raises:
            TooLargeError: more pixels than there are.
        """
        if pixels > self.pixels:
            raise TooLargeError(
                f"{what} is larger than this service takes",
                expected=f"at most {self.pixels} pixels",
                got=str(pixels),
                hint="scale it down, or start the service with a larger --max-pixels",
            )

    @contextmanager
    def take(self, pixels: int, what: str) -> Iterator[None]:
        """Wait until so many pixels are free, and hold them while the block runs.

        Raises:
            TooLargeError: see :meth:`require`.
        """
        self.require(pixels, what)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


class Workers:
    """The threads that work, and the queue before them.

    Attributes:
        limits: of the service.
        budget: of pixels.
        count: threads.
    """

    def __init__(self, count: int, limits: Limits) -> None:
        self.count = count
        self.limits = limits
        self.budget = PixelBudget(limits.pixels)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="ptp-serve")
        self._lock = threading.Lock()
        self._pending = 0
        self._working = 0

    @property
    def waiting(self) -> int:
        """Pieces of work that no thread has begun."""
        return max(0, self._pending - self._working)

    @property
    def working(self) -> int:
        """Pieces of work that a thread is at."""
        return self._working

    async def run(self, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
        """The results of the jobs of one request, in their order.

        Raises:
            OverloadedError: too much is waiting.
            DeadlineError: it took too long; what had not begun never will.
            PtpError: the first of the jobs' errors.
        """
        self._admit(len(jobs))
        futures = [self._pool.submit(contextvars.copy_context().run, self._work, job) for job in jobs]
        for future in futures:
            future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return list(await asyncio.gather(*(asyncio.wrap_future(future) for future in futures)))
        except TimeoutError:
            raise DeadlineError(
                "the request took too long",
                expected=f"at most {self.limits.seconds:g} seconds, waiting included",
                hint="try again later, ask for fewer photos at a time, or start the service with a larger --timeout",
            ) from None
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Finish what has begun and drop the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _admit(self, jobs: int) -> None:
        with self._lock:
            if self._pending + jobs > self.count + self.limits.waiting:
                raise OverloadedError(
                    "too much is waiting already",
                    expected=f"at most {self.limits.waiting} photos or streams in the queue",
                    got=f"{self.waiting}, and {jobs} more",
                    hint="try again in a moment, start more services, or start this one with a larger --queue",
                )
            self._pending += jobs

    def _work(self, job: Callable[[], Result]) -> Result:
        with self._lock:
            self._working += 1
        try:
            return job()
        finally:
            with self._lock:
                self._working -= 1

    def _done(self, _: Future[Result]) -> None:
        with self._lock:
            self._pending -= 1
