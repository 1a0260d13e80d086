"""Batches of a session: several photos or streams at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from ptp_runtime.batches import run_batch
from ptp_runtime.errors import PtpError
from ptp_runtime.speed import SpeedProfile
from ptp_runtime.tasks import TaskOutput

Image = str | os.PathLike[str] | npt.NDArray[np.uint8]


class SessionBatches:
    """What :class:`~ptp_runtime.session.Session` does with several photos or streams, from what it does with one."""

    speed: SpeedProfile

    def encode(self, image: Image, *, rate: int | None = None) -> bytes:
        """See :meth:`Session.encode <ptp_runtime.session.Session.encode>`."""
        raise NotImplementedError

    def decode(self, data: bytes) -> TaskOutput:
        """See :meth:`Session.decode <ptp_runtime.session.Session.decode>`."""
        raise NotImplementedError

    @overload
    def encode_batch(
        self,
        images: Iterable[Image],
        *,
        rate: int | None = None,
        workers: int | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> list[bytes]: ...

    @overload
    def encode_batch(
        self,
        images: Iterable[Image],
        *,
        rate: int | None = None,
        workers: int | None = None,
        on_error: Literal["keep"],
    ) -> list[bytes | PtpError]: ...

    def encode_batch(
        self,
        images: Iterable[Image],
        *,
        rate: int | None = None,
        workers: int | None = None,
        on_error: str = "raise",
    ) -> list[Any]:
        """Several photos, of any sizes, as streams in the same order; each is the stream of :meth:`encode`.

        Args:
            images, rate: see :meth:`encode`; one rate for all.
            workers: photos that are coded at a time; None: as the session's profile says.
            on_error: see :func:`~ptp_runtime.batches.run_batch`: ``raise`` the first error of the batch, or ``keep``
                the typed error in the place of its stream.

        Raises:
            PtpError: as :meth:`encode`, with a note that names the photo's number; or UsageError.
        """
        work = self.speed.workers if workers is None else workers
        return run_batch(lambda image: self.encode(image, rate=rate), images, work, on_error)

    @overload
    def decode_batch(
        self, streams: Iterable[bytes], *, workers: int | None = None, on_error: Literal["raise"] = "raise"
    ) -> list[TaskOutput]: ...

    @overload
    def decode_batch(
        self, streams: Iterable[bytes], *, workers: int | None = None, on_error: Literal["keep"]
    ) -> list[TaskOutput | PtpError]: ...

    def decode_batch(
        self, streams: Iterable[bytes], *, workers: int | None = None, on_error: str = "raise"
    ) -> list[Any]:
        """The task's outputs of several streams, in the same order. Arguments and errors as :meth:`encode_batch`."""
        work = self.speed.workers if workers is None else workers
        return run_batch(self.decode, streams, work, on_error)
