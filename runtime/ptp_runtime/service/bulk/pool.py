"""A pool of processes on this machine, which outlives its members: who dies is replaced, and its shard done again."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from ptp_runtime.errors import BackendError, PtpError, UsageError
from ptp_runtime.service.bulk.deaths import DEATHS, Deaths
from ptp_runtime.service.bulk.shard import Opening, Shard, ShardWorker

_log = logging.getLogger(__name__)

Told = Callable[[int, int], None]
"""Photos that are done and that failed, of a shard that was just finished."""


@dataclass
class _Member:
    """A process of the pool, and what it is at."""

    process: Any
    pipe: Connection
    shard: Shard | None = None
    photo: str = ""
    ready: bool = False
    broken: BackendError | None = None


def run_pool(opening: Opening, shards: Iterable[Shard], workers: int, told: Told) -> None:
    """Do all shards.

    Args:
        opening: how each worker opens its session.
        shards: to be done, in any order.
        workers: processes at a time.
        told: called after each shard.

    Raises:
        UsageError: fewer than one worker, or the destination cannot be written to.
        PtpError: a session does not open.
        BackendError: workers break before they are ready, or not by a photo's fault. What is done stays done.
    """
    if workers < 1:
        raise UsageError("the number of workers is out of range", expected="at least 1", got=str(workers))
    waiting = deque(shards)
    pool = _Pool(opening, told)
    try:
        for _ in range(min(workers, len(waiting))):
            pool.add()
        pool.run(waiting)
    finally:
        pool.close()


class _Pool:
    def __init__(self, opening: Opening, told: Told) -> None:
        self._opening = opening
        self._told = told
        # A fork would share the threads' locks of whoever calls.
        self._context = multiprocessing.get_context("spawn")
        self._members: list[_Member] = []
        self._deaths = Deaths()
        self._stillborn = 0

    def add(self) -> None:
        """Start one more process."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_member, args=(self._opening, theirs), daemon=True)
        process.start()
        theirs.close()
        self._members.append(_Member(process, ours))

    def run(self, waiting: deque[Shard]) -> None:
        """Hand out shards until all are done."""
        while waiting or any(member.shard is not None for member in self._members):
            for member in self._members:
                if member.ready and member.shard is None and waiting:
                    self._hand_out(member, waiting.popleft(), waiting)
            for pipe in wait([member.pipe for member in self._members]):
                member = next(one for one in self._members if one.pipe is pipe)
                try:
                    self._hear(member, member.pipe.recv())
                except (EOFError, OSError):
                    self._bury(member, waiting)

    def close(self) -> None:
        """End all processes; who is in the middle of a shard is not waited for."""
        for member in self._members:
            member.pipe.close()
            if member.shard is not None:
                member.process.kill()
        for member in self._members:
            member.process.join(10)
            member.process.kill()

    def _hand_out(self, member: _Member, shard: Shard, waiting: deque[Shard]) -> None:
        try:
            member.pipe.send(shard)
        except OSError:
            # It died while it had nothing to do; its end is heard of below.
            waiting.appendleft(shard)
            return
        member.shard, member.photo = shard, ""

    def _hear(self, member: _Member, message: tuple[str, Any]) -> None:
        kind, value = message
        if kind == "at":
            member.photo, done = value
            if done:
                self._deaths.well()
        elif kind == "broken":
            member.broken = value
        elif kind == "ready":
            member.ready, self._stillborn = True, 0
        elif kind == "done":
            member.shard = None
            if value[0]:
                self._deaths.well()
            self._told(*value)
        else:
            raise value

    def _bury(self, member: _Member, waiting: deque[Shard]) -> None:
        member.process.join()
        how = _death(member.process.exitcode)
        self._members.remove(member)
        member.pipe.close()
        if not member.ready:
            self._stillborn += 1
            if self._stillborn >= DEATHS:
                raise BackendError(
                    f"{DEATHS} workers died before they were ready",
                    expected="a session that opens",
                    got=how,
                    hint="try ptp doctor",
                )
        shard = member.shard
        if shard is not None:
            at = member.photo or "the shard's end"
            what = f"a worker died ({how})" if member.broken is None else f"a worker's backend failed ({member.broken})"
            _log.warning("%s at %s; its shard is done again", what, at)
            waiting.appendleft(self._deaths.blame(shard, member.photo, member.broken or how))
        if waiting:
            self.add()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def _member(opening: Opening, pipe: Connection) -> None:
    """A process of the pool. It ends when the pool's end of the pipe is closed, also by a kill of the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        worker = ShardWorker(opening)
        pipe.send(("ready", None))
        while True:
            shard: Shard = pipe.recv()
            try:
                counts = worker.work(shard, lambda key, done: pipe.send(("at", (key, done))))
            except BackendError as error:
                # Perhaps it is the device, perhaps the photo: a new process with a new session finds out.
                pipe.send(("broken", error))
                return
            pipe.send(("done", counts))
    except PtpError as error:
        pipe.send(("failed", error))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
