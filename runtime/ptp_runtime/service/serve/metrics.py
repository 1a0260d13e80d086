"""What a service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ptp_runtime.service.serve.outputs import Result
from ptp_runtime.service.serve.work import Workers

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of :meth:`Metrics.text`."""


class Metrics:
    """The counters of one service; a registry of its own, so that two services in a process do not mix.

    Args:
        workers: whose queue is watched.
    """

    def __init__(self, workers: Workers) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "ptp_requests",
            "Requests that were answered, by HTTP's status",
            ("model", "protocol", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ptp_request_seconds",
            "From the request to its answer",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "ptp_stage_seconds",
            "One stage of one photo",
            ("model", "stage"),
            buckets=_STAGE_SECONDS,
            registry=self._registry,
        )
        self._photos = Counter(
            "ptp_photos", "Photos and streams that were worked on", ("model",), registry=self._registry
        )
        self._bytes = Counter(
            "ptp_stream_bytes", "Bytes of the streams that were made or read", ("model",), registry=self._registry
        )
        self._pixels = Counter(
            "ptp_coded_pixels", "Pixels that were coded or decoded", ("model",), registry=self._registry
        )
        Gauge("ptp_waiting", "Photos and streams that wait for a worker", registry=self._registry).set_function(
            lambda: workers.waiting
        )
        Gauge("ptp_working", "Photos and streams that are worked on", registry=self._registry).set_function(
            lambda: workers.working
        )
        Gauge("ptp_workers", "Photos and streams that can be worked on at a time", registry=self._registry).set(
            workers.count
        )

    def answered(self, model: str, protocol: str, status: int, seconds: float) -> None:
        """Count a request. ``model`` is one that is served, or empty: strangers' words are no labels."""
        self._requests.labels(model, protocol, str(status)).inc()
        self._seconds.labels(model).observe(seconds)

    def worked(self, model: str, results: Sequence[Result]) -> None:
        """Count what a request made the workers do."""
        self._photos.labels(model).inc(len(results))
        for result in results:
            self._bytes.labels(model).inc(result.rate.size_bytes)
            self._pixels.labels(model).inc(result.rate.height * result.rate.width)
            for direction, times in result.milliseconds.items():
                for stage, milliseconds in times.items():
                    self._stages.labels(model, f"{direction} {stage}").observe(milliseconds / 1e3)

    def text(self) -> bytes:
        """Prometheus's text format."""
        return generate_latest(self._registry)
