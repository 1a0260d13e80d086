"""How much a service takes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a service. What is beyond one is refused with a typed error that names it.

    Attributes:
        body_bytes: of one request's body.
        pixels: that are worked on at a time, in all; so also of one photo, or of the photo of one stream. Memory grows
            with it: ``docs/serving.md`` says how much.
        request_pixels: of all photos of one request, whose results are kept until the last of them is there.
        photos: of one request.
        waiting: photos and streams that wait for a worker, beyond those that are worked on.
        seconds: that one request may take, waiting included.
        connections: over HTTP and calls over gRPC at a time, each.
    """

    body_bytes: int = 32 << 20
    pixels: int = 16 << 20
    request_pixels: int = 64 << 20
    photos: int = 64
    waiting: int = 256
    seconds: float = 30.0
    connections: int = 512
