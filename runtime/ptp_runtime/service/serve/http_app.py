"""The protocol over HTTP, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from ptp_runtime.errors import DeadlineError, PtpError, RequestError, TooLargeError
from ptp_runtime.service.serve.http_messages import (
    HEADER_LENGTH,
    WantedOutputs,
    body_from_response,
    metadata,
    request_from_body,
)
from ptp_runtime.service.serve.metrics import CONTENT_TYPE
from ptp_runtime.service.serve.model import VERSION, ServedModel
from ptp_runtime.service.serve.requests import Request
from ptp_runtime.service.serve.service import Service
from ptp_runtime.service.serve.statuses import CLOSED_BY_CLIENT, INTERNAL, RETRY_SECONDS, sentence_of, status_of

_log = logging.getLogger(__name__)

# Nothing but what came with the page: a page that shows strangers' photos loads nothing from anywhere.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


def http_app(service: Service, *, name: str, version: str) -> Starlette:
    """The application.

    Args:
        service: which answers.
        name, version: of the server, for its metadata.
    """
    page = (files(__package__) / "page.html").read_bytes()

    async def server(_: HttpRequest) -> HttpResponse:
        extensions = ["binary_tensor_data", "model_repository"]
        return JSONResponse({"name": name, "version": version, "extensions": extensions})

    async def live(_: HttpRequest) -> HttpResponse:
        return JSONResponse({"live": True})

    async def ready(_: HttpRequest) -> HttpResponse:
        service.require_running()
        return JSONResponse({"ready": True})

    async def model_ready(request: HttpRequest) -> HttpResponse:
        service.require_running()
        model = _model(service, request)
        return JSONResponse({"name": model.name, "ready": True})

    async def model(request: HttpRequest) -> HttpResponse:
        return JSONResponse(metadata(_model(service, request)))

    async def index(_: HttpRequest) -> HttpResponse:
        return JSONResponse([{"name": one.name, "version": VERSION, "state": "READY"} for one in service.catalogue])

    async def infer(request: HttpRequest) -> HttpResponse:
        wanted = WantedOutputs({})

        async def read(model: ServedModel) -> Request:
            nonlocal wanted
            body = await _body(request, service)
            found, wanted = await asyncio.to_thread(
                request_from_body, body, _json_size(request), dict(request.query_params), model
            )
            return found

        parts = request.path_params
        response = await service.answer(parts["name"], parts.get("version", ""), "http", read)
        body, json_size = await asyncio.to_thread(body_from_response, response, wanted)
        headers = {} if json_size is None else {HEADER_LENGTH: str(json_size)}
        kind = "application/json" if json_size is None else "application/octet-stream"
        return HttpResponse(body, media_type=kind, headers=headers)

    async def metrics(_: HttpRequest) -> HttpResponse:
        return HttpResponse(service.metrics.text(), media_type=CONTENT_TYPE)

    async def front(_: HttpRequest) -> HttpResponse:
        return HttpResponse(page, media_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)

    routes = [
        Route("/", front),
        Route("/metrics", metrics),
        Route("/v2", _guarded(server)),
        Route("/v2/", _guarded(server)),
        Route("/v2/health/live", _guarded(live)),
        Route("/v2/health/ready", _guarded(ready)),
        Route("/v2/repository/index", _guarded(index), methods=["POST"]),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route(path, _guarded(model)),
            Route(f"{path}/ready", _guarded(model_ready)),
            Route(f"{path}/infer", _guarded(infer), methods=["POST"]),
        ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _unknown_path})


def _model(service: Service, request: HttpRequest) -> ServedModel:
    return service.catalogue.model(request.path_params["name"], request.path_params.get("version", ""))


def _guarded(handler: Handler) -> Handler:
    """Errors as JSON with a fitting status; nothing of the service's inside gets out."""

    @wraps(handler)
    async def guarded(request: HttpRequest) -> HttpResponse:
        try:
            return await handler(request)
        except ClientDisconnect:
            return HttpResponse(status_code=CLOSED_BY_CLIENT)
        except PtpError as error:
            return _refusal(error, status_of(error)[0])
        except Exception as error:  # noqa: BLE001 - the last line of defence, and it speaks
            _log.exception("%s %s failed", request.method, request.url.path)
            return _refusal(error, INTERNAL[0])

    return guarded


def _refusal(error: Exception, status: int) -> HttpResponse:
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}
    if status == 413:
        headers["Connection"] = "close"  # the rest of the body is not read
    kind = type(error).__name__ if isinstance(error, PtpError) else "InternalError"
    return JSONResponse({"error": sentence_of(error), "type": kind}, status, headers)


def _unknown_path(_: HttpRequest, error: Exception) -> HttpResponse:
    status = error.status_code if isinstance(error, HTTPException) else INTERNAL[0]
    words = {404: "there is nothing under this path", 405: "this path takes another method"}
    return JSONResponse({"error": words.get(status, "refused") + "; see GET /v2.", "type": "RequestError"}, status)


def _json_size(request: HttpRequest) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise RequestError(f"the header {HEADER_LENGTH} is no number", expected="a number of bytes", got=text[:40])
    return int(text)


async def _body(request: HttpRequest, service: Service) -> bytes:
    """The body, refused as soon as it is known to be too large, and not waited for without end."""
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise RequestError("compressed bodies are not taken", expected="no Content-Encoding", got=coding[:40])
    most = service.limits.body_bytes
    promised = request.headers.get("content-length", "0")
    if promised.isdigit() and int(promised[:20]) > most:
        raise _too_large(most, promised[:20])
    parts, size = [], 0
    try:
        async with asyncio.timeout(service.limits.seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _too_large(most, "more")
                parts.append(part)
    except TimeoutError:
        raise DeadlineError("the body did not arrive in time", expected=f"{service.limits.seconds:g} seconds") from None
    return b"".join(parts)


def _too_large(most: int, got: str) -> TooLargeError:
    return TooLargeError(
        "the body of the request is too large",
        expected=f"at most {most} bytes",
        got=got,
        hint="send fewer photos at a time, or start the service with a larger --max-body",
    )
