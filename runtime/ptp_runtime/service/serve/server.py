"""Both protocols of one service in one process, from the first socket to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from ptp_runtime.errors import UsageError
from ptp_runtime.service.serve.grpc_service import grpc_server
from ptp_runtime.service.serve.http_app import http_app
from ptp_runtime.service.serve.service import Service

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Addresses:
    """Where to listen.

    Attributes:
        host: name or address.
        port: of HTTP; 0 for a free one.
        grpc_port: of gRPC; 0 for a free one, None for no gRPC.
    """

    host: str
    port: int
    grpc_port: int | None


class _Server(uvicorn.Server):
    """Uvicorn's server, without its own way to take signals: it raises them again after the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    service: Service,
    addresses: Addresses,
    *,
    name: str,
    version: str,
    grace: float,
    began: Callable[[int, int | None], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then take no more requests, finish those that are there, and return.

    Args:
        service: which answers; it is closed at the end.
        addresses: where.
        name, version: of the server.
        grace: seconds that requests get to finish after the signal; a second signal ends at once.
        began: called with the ports once requests are taken.

    Raises:
        UsageError: an address cannot be taken.
    """
    listener = _listener(addresses.host, addresses.port)
    calls: Any = None
    grpc_port: int | None = None
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        http_app(service, name=name, version=version),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=service.limits.connections,
        timeout_graceful_shutdown=max(1, round(grace)),
        backlog=1024,
    )
    web = _Server(config)

    def stop() -> None:
        _log.info("stopping: requests that are there are finished, for up to %g seconds", grace)
        web.force_exit = service.stopping
        service.stopping = True
        web.should_exit = True

    try:
        if addresses.grpc_port is not None:
            calls, grpc_port = _grpc(service, addresses.host, addresses.grpc_port, name, version)
            await calls.start()
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop)
        serving = asyncio.create_task(web.serve([listener]))
        while not (web.started or serving.done()):
            await asyncio.sleep(0.01)
        if web.started:
            began(listener.getsockname()[1], grpc_port)
        await serving
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        service.stopping = True
        if calls is not None:
            await calls.stop(grace)
        listener.close()
        await asyncio.to_thread(service.close)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _taken(host, port, error.strerror or str(error)) from error
    return listener


def _grpc(service: Service, host: str, port: int, name: str, version: str) -> tuple[Any, int]:
    shown = f"[{host}]" if ":" in host else host
    try:
        return grpc_server(service, f"{shown}:{port}", name=name, version=version)
    except RuntimeError as error:
        raise _taken(host, port, "it cannot be taken") from error


def _taken(host: str, port: int, reason: str) -> UsageError:
    return UsageError(
        f"the service cannot listen on {host}, port {port}",
        got=reason,
        hint="choose another with --port or --grpc-port",
    )
