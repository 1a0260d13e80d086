"""Python's own error for memory that is not to be had, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ptp_runtime.errors import OutOfMemoryError


@contextmanager
def memory_for(what: str) -> Iterator[None]:
    """While the block runs, or the function that this decorates, a lack of memory is named.

    Args:
        what: the memory is for, as a clause: ``to encode this photo``.

    Raises:
        OutOfMemoryError: in the place of a MemoryError.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            f"there is not enough memory {what}",
            got=str(error) or "an allocation that failed",
            hint="scale the photo down or cut it into tiles, or give the process more memory",
        ) from error
