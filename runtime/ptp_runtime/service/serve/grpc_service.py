"""The protocol over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np

from ptp_runtime.errors import PtpError, RequestError
from ptp_runtime.service.serve.grpc_messages import MESSAGES, SERVICE, parameter_value
from ptp_runtime.service.serve.model import VERSION, ServedModel
from ptp_runtime.service.serve.requests import Request, Response
from ptp_runtime.service.serve.service import Service
from ptp_runtime.service.serve.statuses import INTERNAL, sentence_of, status_of
from ptp_runtime.service.serve.tensors import (
    NUMBERS,
    RANGES,
    Tensor,
    TensorSpec,
    require_range,
    require_shape,
    tensor_from_raw,
    unknown_datatype,
)

_log = logging.getLogger(__name__)

# Where the protocol puts the values of a data type when they do not come as raw bytes.
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_OVERHEAD = 1 << 20
"""Bytes of a message beyond its tensors."""

Method = Callable[[Any, Any], Awaitable[Any]]


def grpc_server(service: Service, address: str, *, name: str, version: str) -> tuple[Any, int]:
    """A server that was not started yet, and its port.

    Args:
        service: which answers.
        address: ``HOST:PORT``; port 0 takes a free one.
        name, version: of the server, for its metadata.

    Raises:
        RuntimeError: the address cannot be taken.
    """
    most = service.limits.body_bytes + _OVERHEAD
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=service.limits.connections,
    )
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            _guarded(handler),
            request_deserializer=MESSAGES[f"{method}Request"].FromString,
            response_serializer=MESSAGES[f"{method}Response"].SerializeToString,
        )
        for method, handler in _methods(service, name, version).items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    return server, server.add_insecure_port(address)


def _methods(service: Service, name: str, version: str) -> dict[str, Method]:
    async def live(_: Any, __: Any) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def ready(_: Any, __: Any) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=not service.stopping)

    async def model_ready(request: Any, _: Any) -> Any:
        service.catalogue.model(request.name, request.version)
        return MESSAGES["ModelReadyResponse"](ready=not service.stopping)

    async def server(_: Any, __: Any) -> Any:
        return MESSAGES["ServerMetadataResponse"](name=name, version=version)

    async def model(request: Any, _: Any) -> Any:
        found = service.catalogue.model(request.name, request.version)
        return MESSAGES["ModelMetadataResponse"](
            name=found.name,
            versions=[VERSION],
            platform="ptp-deploy",
            inputs=[_metadata(spec) for spec in found.inputs],
            outputs=[_metadata(spec) for spec in found.outputs.specs],
        )

    async def infer(request: Any, _: Any) -> Any:
        async def read(_: ServedModel) -> Request:
            return await asyncio.to_thread(request_from_message, request)

        return message_from_response(await service.answer(request.model_name, request.model_version, "grpc", read))

    return {
        "ServerLive": live,
        "ServerReady": ready,
        "ModelReady": model_ready,
        "ServerMetadata": server,
        "ModelMetadata": model,
        "ModelInfer": infer,
    }


def request_from_message(message: Any) -> Request:
    """A ``ModelInferRequest`` as a request.

    Raises:
        RequestError: it breaks the protocol.
    """
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise RequestError(
            "raw_input_contents do not fit the inputs", expected=f"{len(message.inputs)} or none", got=str(len(raw))
        )
    inputs: dict[str, Tensor] = {}
    for number, entry in enumerate(message.inputs):
        shape = require_shape(entry.name, list(entry.shape))
        if entry.name in inputs:
            raise RequestError(f"the input {entry.name!r} is there twice", expected="each input once")
        if raw:
            inputs[entry.name] = tensor_from_raw(entry.name, entry.datatype, shape, raw[number])
        else:
            inputs[entry.name] = _tensor_from_contents(entry, shape)
    parameters = {name: parameter_value(value) for name, value in message.parameters.items()}
    return Request(inputs, parameters, tuple(entry.name for entry in message.outputs), message.id)


def message_from_response(response: Response) -> Any:
    """A response as a ``ModelInferResponse``, its tensors as raw bytes."""
    outputs = [
        MESSAGES["InferOutputTensor"](name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        for tensor in response.outputs
    ]
    return MESSAGES["ModelInferResponse"](
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        outputs=outputs,
        raw_output_contents=[tensor.to_raw() for tensor in response.outputs],
    )


def _tensor_from_contents(entry: Any, shape: tuple[int, ...]) -> Tensor:
    if entry.datatype not in _CONTENTS:
        raise unknown_datatype(entry.name, entry.datatype)
    values = list(getattr(entry.contents, _CONTENTS[entry.datatype]))
    if len(values) != int(np.prod(shape, dtype=object)):
        raise RequestError(
            f"the input {entry.name!r} has not as many values as its shape says",
            expected=str(list(shape)),
            got=f"{len(values)} values",
        )
    if entry.datatype == "BYTES":
        return Tensor(entry.name, "BYTES", shape, values)
    if values and entry.datatype in RANGES:
        require_range(entry.name, entry.datatype, values)
    return Tensor(entry.name, entry.datatype, shape, np.array(values, NUMBERS[entry.datatype]).reshape(shape))


def _metadata(spec: TensorSpec) -> Any:
    return MESSAGES["TensorMetadata"](name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _guarded(handler: Method) -> Method:
    """Errors as gRPC's statuses; nothing of the service's inside gets out."""

    async def guarded(request: Any, context: Any) -> Any:
        try:
            return await handler(request, context)
        except PtpError as error:
            status, sentence = status_of(error)[1], sentence_of(error)
        except Exception as error:  # noqa: BLE001 - the last line of defence, and it speaks
            _log.exception("a call failed")
            status, sentence = INTERNAL[1], sentence_of(error)
        await context.abort(getattr(grpc.StatusCode, status), sentence)
        return None

    return guarded
