"""One shard: its photos coded in order, written, recorded. This is what every worker runs, in whatever pool."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptp_runtime.errors import BackendError, PtpError
from ptp_runtime.images import image_from_bytes
from ptp_runtime.rate import rate_values
from ptp_runtime.result_files import file_bytes, file_suffix, result_values
from ptp_runtime.service.bulk.formats import Done, require_room, write_shard
from ptp_runtime.service.bulk.journal import Journal
from ptp_runtime.service.bulk.plan import Choices
from ptp_runtime.service.bulk.sources import Photo
from ptp_runtime.session import Session

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a photo has no result.

    Attributes:
        error: class of the error.
        message: what was expected, what came, what to do.
        hint: the last of the three alone.
    """

    error: str
    message: str
    hint: str


@dataclass(frozen=True)
class Shard:
    """A piece of work that can be sent to another process.

    Attributes:
        number: of the shard.
        photos: of it.
        given_up: keys of photos at which workers broke; they are recorded as failures.
    """

    number: int
    photos: Sequence[Photo]
    given_up: Mapping[str, Failure]


@dataclass(frozen=True)
class Opening:
    """How a worker opens its session, and where it writes.

    Attributes:
        bundle: path.
        destination: path.
        choices: of the plan.
        session: further arguments of :meth:`Session.open <ptp_runtime.Session.open>`.
    """

    bundle: str
    destination: str
    choices: Choices
    session: Mapping[str, Any]


class ShardWorker:
    """A session and what it does to shards.

    Args:
        opening: how to open it.

    Raises:
        PtpError: as :meth:`Session.open <ptp_runtime.Session.open>`.
    """

    def __init__(self, opening: Opening) -> None:
        self._choices = opening.choices
        self._journal = Journal(Path(opening.destination))
        self._session = Session.open(opening.bundle, task=opening.choices.task, **opening.session)

    def work(self, shard: Shard, told: Callable[[str, int], None] = lambda key, done: None) -> tuple[int, int]:
        """Do a shard.

        Args:
            shard: which.
            told: called with each photo's key before it is worked on, and with nothing before the shard is written;
                and with how many of the shard's photos are done.

        Returns:
            How many of its photos are done, and how many failed.

        Raises:
            UsageError: the destination cannot be written to, or the disk is full.
            BackendError: the backend failed. That says nothing of the photo, which has no failure recorded.
        """
        known = self._journal.counts(shard.number)
        if known is not None:
            # Whoever recorded it died before it could say so.
            return known
        done: list[Done] = []
        failures: list[dict[str, str]] = []
        for photo in shard.photos:
            if photo.key in shard.given_up:
                failures.append(_failure(photo, shard.given_up[photo.key]))
                continue
            told(photo.key, len(done))
            try:
                done.append(self._one(photo))
            except BackendError:
                raise
            except PtpError as error:
                failures.append(_failure(photo, Failure(type(error).__name__, str(error), error.hint)))
            except Exception as error:  # noqa: BLE001 - one photo of a million is not the end of the others
                _log.exception("%s failed", photo.path)
                failure = Failure("InternalError", f"{type(error).__name__}: {error}", "please report it")
                failures.append(_failure(photo, failure))
        told("", len(done))
        files = write_shard(self._journal.folder, shard.number, self._choices.format, done)
        index = [{"key": one.key, "shard": shard.number} | one.values for one in done]
        self._journal.record(shard.number, files, index, failures)
        return len(done), len(failures)

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def _one(self, photo: Photo) -> Done:
        data = photo.read()
        pixels = image_from_bytes(data, photo.key, convert=self._choices.convert)
        # Of which photo this is the result, also after another has taken its name.
        values: dict[str, Any] = {"photo_sha256": hashlib.sha256(data).hexdigest()}
        if self._choices.operation == "encode":
            encoded = self._session.encode_detailed(pixels, rate=self._choices.rate, keep_steps=False)
            done = Done(photo.key, values | rate_values(encoded.rate), {".ptp": encoded.data})
        else:
            result = self._session.infer(pixels, rate=self._choices.rate)
            values |= {"result": result_values(result.output), **rate_values(result.rate)}
            files = {".ptp": result.data, file_suffix(result.output): file_bytes(result.output)}
            done = Done(photo.key, values, files)
        require_room(self._journal.folder, self._choices.format, done)
        return done


def _failure(photo: Photo, failure: Failure) -> dict[str, str]:
    return {"key": photo.key, "path": photo.path, **asdict(failure)}
