"""Which status of HTTP and of gRPC an error becomes."""

from __future__ import annotations

from ptp_runtime.errors import (
    DeadlineError,
    ImageError,
    OutOfMemoryError,
    OverloadedError,
    PtpError,
    RequestError,
    StreamError,
    TooLargeError,
    UnknownModelError,
    UsageError,
)

_STATUSES: tuple[tuple[type[PtpError], int, str], ...] = (
    (UnknownModelError, 404, "NOT_FOUND"),
    (TooLargeError, 413, "RESOURCE_EXHAUSTED"),
    (OverloadedError, 503, "UNAVAILABLE"),
    (OutOfMemoryError, 503, "RESOURCE_EXHAUSTED"),
    (DeadlineError, 504, "DEADLINE_EXCEEDED"),
    (RequestError, 400, "INVALID_ARGUMENT"),
    (ImageError, 400, "INVALID_ARGUMENT"),
    (StreamError, 400, "INVALID_ARGUMENT"),
    (UsageError, 400, "INVALID_ARGUMENT"),
)
INTERNAL = (500, "INTERNAL")
"""Of everything else: the backend failed, or there is a fault in the service."""

CLOSED_BY_CLIENT = 499
"""Nginx's status for a client that went away; nobody reads it but the counters."""

RETRY_SECONDS = 1
"""What a client that was refused for now is told to wait."""


def status_of(error: BaseException) -> tuple[int, str]:
    """The status of HTTP, and the name of gRPC's status."""
    for kind, http, grpc in _STATUSES:
        if isinstance(error, kind):
            return http, grpc
    return INTERNAL


def sentence_of(error: BaseException) -> str:
    """What the client is told. A fault in the service is not explained to strangers; it is in the log."""
    return str(error) if isinstance(error, PtpError) else "internal error; the service's log has more."
