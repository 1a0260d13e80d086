"""All tasks of one bundle at once: one set of codec graphs, into which each task brings its prompt.

>>> from ptp_runtime import SharedSession
>>> with SharedSession.open("bundle") as session:    # doctest: +SKIP
...     data = session.encode("photo.jpg", task="seg")
...     mask = session.decode(data).mask
...     boxes = session.decode(data, task="det").boxes
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from ptp_runtime.backends import Backend
from ptp_runtime.backends.fallback_graph import with_fallback
from ptp_runtime.batches import run_batch
from ptp_runtime.bitstream import read_header
from ptp_runtime.bundle import Bundle
from ptp_runtime.coding_results import Decoded, Encoded
from ptp_runtime.errors import TaskNotAvailableError, UsageError, WrongModelError
from ptp_runtime.golden.gate import open_another_task
from ptp_runtime.manifest import TASK_IDS, CentreCrop
from ptp_runtime.session import Image, Session
from ptp_runtime.stopwatch import Stopwatch
from ptp_runtime.tasks import TaskOutput
from ptp_runtime.trust import admitted, without_engines


class SharedSession:
    """The tasks of a bundle, or some of them. Use :meth:`open`; it may be used from several threads.

    Switching the task loads and builds nothing. A bundle of one task is served, too.

    Attributes:
        tasks: in the bundle's order, its main one first.
    """

    def __init__(self, sessions: dict[str, Session]) -> None:
        self._sessions = sessions
        self.tasks = tuple(sessions)

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str] | Bundle,
        backend: str | Backend = "auto",
        threads: int | None = None,
        tasks: Sequence[str] | None = None,
        **choices: Any,
    ) -> SharedSession:
        """Open a bundle for several of its tasks, with a golden test for each.

        Args:
            bundle, backend, threads: see :meth:`Session.open`.
            tasks: which; None: all.
            choices: further arguments of :meth:`Session.open`.

        Raises:
            PtpError: as :meth:`Session.open`; TaskNotAvailableError where a task is not the bundle's.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        wanted = opened.tasks if tasks is None else tuple(dict.fromkeys(tasks))
        if not wanted:
            raise UsageError("no task was asked for", expected=" or ".join(map(repr, opened.tasks)))
        views = [opened.of_task(task) for task in wanted]
        if not admitted(views[0], backend, choices.get("trust")).manifest.engines:
            views = [without_engines(view) for view in views]
        first = Session.open(views[0], backend, threads, **choices)
        sessions = {wanted[0]: first}
        try:
            for task, view in zip(wanted[1:], views[1:], strict=True):
                graphs, golden = open_another_task(view, first.graphs, first.bundle, first.speed.threads)
                policy = choices.get("on_failure", "auto")
                graphs = with_fallback(view, graphs, backend, first.speed.threads, policy)
                sessions[task] = first.beside(view, graphs, golden)
        except BaseException:
            for session in reversed(sessions.values()):
                session.close()
            raise
        return cls(sessions)

    def session(self, task: str | None = None) -> Session:
        """The session of one task; None: of the main one. It is closed with this one.

        Raises:
            TaskNotAvailableError: the task is not among :attr:`tasks`.
        """
        chosen = self.tasks[0] if task is None else task
        if chosen not in self._sessions:
            raise TaskNotAvailableError(
                f"the task {chosen!r} is not open", expected=" or ".join(map(repr, self.tasks)), got=repr(chosen)
            )
        return self._sessions[chosen]

    def task_of(self, data: bytes) -> str:
        """The task that a stream belongs to, from its header.

        Raises:
            StreamError: no stream, or a damaged one.
            WrongModelError: of a task that is not open here.
        """
        return task_of_stream(data, self.tasks)

    def encode(self, image: Image, *, rate: int | None = None, task: str | None = None) -> bytes:
        """A photo as a stream of one task; None: of the main one. See :meth:`Session.encode`."""
        return self.session(task).encode(image, rate=rate)

    def encode_detailed(
        self, image: Image, *, rate: int | None = None, task: str | None = None, keep_steps: bool = True
    ) -> Encoded:
        """See :meth:`Session.encode_detailed`."""
        return self.session(task).encode_detailed(image, rate=rate, keep_steps=keep_steps)

    def decode(self, data: bytes, *, task: str | None = None) -> TaskOutput:
        """A task's output from a stream.

        Args:
            data: a stream of any of the tasks. Its own task's hyper prompts decode it, always.
            task: whose synthesis prompt and head look at the latents; None: the stream's own. Another task sees a
                photo that was not coded for it, which costs accuracy (``docs/shared-prompts.md`` has figures). Where
                the stream's own task crops its photos (``cls``), the output is that of the crop, in its pixels.

        Raises:
            StreamError, EngineError: as :meth:`Session.decode`.
            TaskNotAvailableError: the task is not open.
        """
        own = self.session(self.task_of(data))
        if task is None or self.session(task) is own:
            return own.decode(data)
        return self.decode_detailed(data, task=task, keep_steps=False).output

    def decode_detailed(self, data: bytes, *, task: str | None = None, keep_steps: bool = True) -> Decoded:
        """As :meth:`decode`; see :meth:`Session.decode_detailed`."""
        own = self.session(self.task_of(data))
        shown = own if task is None else self.session(task)
        # Of a photo that was cropped, another task's mask or boxes can only be those of the crop.
        cropped = isinstance(own.manifest.preprocessing.resize, CentreCrop)
        watch = Stopwatch()
        received = own.receive(data, watch, keep_steps=keep_steps)
        return shown.show(received, watch, whole_photo=shown is own or not cropped)

    def encode_batch(
        self,
        images: Iterable[Image],
        *,
        rate: int | None = None,
        tasks: Sequence[str | None] | None = None,
        workers: int | None = None,
        on_error: str = "raise",
    ) -> list[Any]:
        """Several photos, each for a task of its own; the streams are those of :meth:`encode`.

        Args:
            images, rate, workers, on_error: see :meth:`Session.encode_batch`.
            tasks: one for each photo; None: the main one for all.

        Raises:
            UsageError: not as many tasks as photos.
        """
        photos = list(images)
        pairs = _paired(photos, tasks)
        return run_batch(
            lambda pair: self.encode(pair[0], rate=rate, task=pair[1]), pairs, self._workers(workers), on_error
        )

    def decode_batch(
        self,
        streams: Iterable[bytes],
        *,
        tasks: Sequence[str | None] | None = None,
        workers: int | None = None,
        on_error: str = "raise",
    ) -> list[Any]:
        """Several streams of any of the tasks; arguments and errors as :meth:`encode_batch`, ``tasks`` as
        :meth:`decode` has it."""
        pairs = _paired(list(streams), tasks)
        return run_batch(lambda pair: self.decode(pair[0], task=pair[1]), pairs, self._workers(workers), on_error)

    def _workers(self, asked: int | None) -> int:
        return self.session().speed.workers if asked is None else asked

    def close(self) -> None:
        """Free what the backend holds, of all tasks."""
        for session in reversed(self._sessions.values()):
            session.close()

    def __enter__(self) -> SharedSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _paired(items: list[Any], tasks: Sequence[str | None] | None) -> list[tuple[Any, str | None]]:
    chosen: Sequence[str | None] = [None] * len(items) if tasks is None else tasks
    if len(chosen) != len(items):
        raise UsageError("a batch needs a task for each item", expected=str(len(items)), got=str(len(chosen)))
    return list(zip(items, chosen, strict=True))


def task_of_stream(data: bytes, tasks: Sequence[str] | Bundle) -> str:
    """The task that a stream belongs to, from its header.

    Args:
        data: the stream.
        tasks: that are known, or a bundle with them.

    Raises:
        StreamError: no stream, or a damaged one.
        WrongModelError: of another task.
    """
    known = tasks.tasks if isinstance(tasks, Bundle) else tasks
    number = read_header(data).task
    name = next((name for name, task in TASK_IDS.items() if task == number), "")
    if name not in known:
        raise WrongModelError(
            "the stream was coded for another task",
            expected=" or ".join(known),
            got=name or f"the unknown task {number}",
            hint="decode it with the bundle that encoded it",
        )
    return name
