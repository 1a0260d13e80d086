"""Whose fault it is that workers break: a photo's, which is given up; a shard's or the machine's, which ends the run.

A worker breaks when its process dies, or when its backend fails. Either may be the worker's own bad luck, so that what
it was at is tried again by a new one, with a session that passed its golden test anew, before anything is blamed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ptp_runtime.errors import BackendError
from ptp_runtime.service.bulk.shard import Failure, Shard

DEATHS = 3
"""So many workers may break at one photo; then it is given up. So many photos in a row the backend may cost."""


class Deaths:
    """The breaks of one run."""

    def __init__(self) -> None:
        self._at: Counter[tuple[int, str]] = Counter()
        self._in_row = 0

    def well(self) -> None:
        """A photo went well: the backend can do its work."""
        self._in_row = 0

    def blame(self, shard: Shard, photo: str, how: str | BackendError) -> Shard:
        """A worker broke.

        Args:
            shard: that it was at.
            photo: key of the one that it was at; empty where it was at none: when it wrote the shard.
            how: its process died, or what its backend said.

        Returns:
            The shard as it is to be done again: perhaps without the photo.

        Raises:
            BackendError: it is not the photo's fault. The shard has no record, so nothing is lost.
        """
        self._at[shard.number, photo] += 1
        count = self._at[shard.number, photo]
        if count < DEATHS:
            return shard
        if not photo:
            raise BackendError(
                f"{DEATHS} workers died when they wrote shard {shard.number}",
                got=str(how),
                hint="see that there is memory for all workers, then go on; or begin anew with a smaller --shard-size",
            )
        if isinstance(how, BackendError):
            self._in_row += 1
            if self._in_row >= DEATHS:
                raise BackendError(
                    f"the backend failed at {DEATHS} photos in a row, {count} times at each, the last {photo!r}",
                    got=str(how),
                    hint="the same command goes on where this run ended; --backend may be another one",
                ) from how
            failure = Failure(type(how).__name__, str(how), how.hint)
        else:
            failure = Failure("WorkerDied", f"{count} workers died at it; the last: {how}.", "try it alone")
        return replace(shard, given_up={**shard.given_up, photo: failure})
