"""A service on the pocket model, and how the tests speak to its application without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptp_runtime import SharedSession
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.serve.catalogue import Catalogue
from ptp_runtime.service.serve.http_app import http_app
from ptp_runtime.service.serve.limits import Limits
from ptp_runtime.service.serve.service import Service


def pocket_service(folder: Path, *tasks: str, **limits: Any) -> Service:
    """A service of pocket bundles, one a task."""
    sessions = [
        SharedSession.open(write_pocket_bundle(folder / task, task=task), backend=PocketBackend()) for task in tasks
    ]
    return Service(Catalogue({"": sessions}), Limits(**limits))


class Answer:
    """What the application answered."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status: int = messages[0]["status"]
        self.headers = {key.decode(): value.decode() for key, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    def json(self) -> Any:
        """The body, or the part of it before the binary tensors."""
        size = self.headers.get("inference-header-content-length")
        return json.loads(self.body if size is None else self.body[: int(size)])


async def acall(
    service: Service, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """One request to the application."""
    sent: list[dict[str, Any]] = []
    given = {"content-length": str(len(body))} | {key.lower(): value for key, value in (headers or {}).items()}
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(key.encode(), value.encode()) for key, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    parts = [body[at : at + 65536] for at in range(0, len(body), 65536)] or [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await http_app(service, name="test", version="0")(scope, receive, send)
    return Answer(sent)


def call(
    service: Service, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """As :func:`acall`, in an event loop of its own."""
    return asyncio.run(acall(service, method, path, body, headers))


def binary_request(name: str, elements: list[bytes], **document: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with one ``BYTES`` input as binary tensors."""
    raw = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    entry = {"name": name, "datatype": "BYTES", "shape": [len(elements)], "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [entry]} | document).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}
