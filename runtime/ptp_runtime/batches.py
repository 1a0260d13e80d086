"""Several photos or streams at a time, on threads: what takes the time (graphs, coder) runs outside Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ptp_runtime.errors import PtpError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

ON_ERROR = ("raise", "keep")
"""What a batch does with an item that fails."""


def run_batch(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, on_error: str = "raise"
) -> list[Result | PtpError]:
    """The results in the order of the items, whatever the order in which they were done.

    Args:
        work: called once for each item, from several threads.
        items: of the batch.
        workers: how many are worked on at a time; 1: no thread is made.
        on_error: ``raise``: items that have not begun are dropped, those that have are finished, and the error of the
            first item that failed (first in the batch, of those that ran) is raised with a note that names its
            number. ``keep``: every item is tried, and a typed error stands in the place of its result.

    Raises:
        UsageError: fewer than one worker, or no such treatment of errors.
        PtpError: of an item, with ``on_error="raise"``; anything that is no PtpError is always raised.
    """
    if workers < 1:
        raise UsageError("the number of workers is out of range", expected="at least 1", got=str(workers))
    if on_error not in ON_ERROR:
        raise UsageError("a batch cannot do that with errors", expected=" or ".join(ON_ERROR), got=repr(on_error))
    batch = list(items)

    def one(number: int) -> Result | PtpError:
        try:
            return work(batch[number])
        except PtpError as error:
            if on_error == "keep":
                return error
            error.add_note(f"item {number} of a batch of {len(batch)}, counted from 0")
            raise

    if workers == 1 or len(batch) < 2:
        return [one(number) for number in range(len(batch))]
    with ThreadPoolExecutor(min(workers, len(batch)), thread_name_prefix="ptp-batch") as pool:
        futures = [pool.submit(one, number) for number in range(len(batch))]
        _finish(futures)
    return [future.result() for future in futures]


def _finish(futures: list[Future[Result | PtpError]]) -> None:
    """Wait for all, or for the first failure; then drop what has not begun, and raise the first error of the batch."""
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        future.cancel()
    wait(futures)
    for future in futures:
        if not future.cancelled() and (error := future.exception()) is not None:
            raise error
