"""Requests and responses as bodies of HTTP: the protocol's JSON, Triton's binary tensors, and a bare file.

Three kinds of body are taken:

- JSON alone; photos and streams as base64, with the tensor's parameter ``{"content_type": "base64"}``.
- JSON, and behind it the bytes of the inputs that say ``{"binary_data_size": N}``; the header
  ``Inference-Header-Content-Length`` says where the JSON ends (Triton's *Binary Tensor Data* extension).
- One photo's or stream's bytes and nothing else, with ``Inference-Header-Content-Length: 0`` (its *raw binary
  request*). What else there is to say stands in the query, ``?outputs=STREAM&rate=0``; a single output of bytes that is
  asked for there comes back just as bare.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ptp_runtime.errors import RequestError
from ptp_runtime.service.serve.model import VERSION, ServedModel
from ptp_runtime.service.serve.requests import Request, Response
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

_FLAGS = {"true": True, "false": False}

HEADER_LENGTH = "inference-header-content-length"


class WantedOutputs:
    """How the outputs of a response travel.

    Args:
        document: of the request.
        bare: the request came without JSON.

    Attributes:
        bare: the answer shall come without JSON, too.
    """

    def __init__(self, document: Mapping[str, Any], *, bare: bool = False) -> None:
        self.bare = bare and len(document.get("outputs", ())) == 1
        parameters = _object(document.get("parameters", {}), "parameters")
        self._all = _flag(parameters, "binary_data_output")
        entries = [_object(entry, "an output") for entry in _list(document.get("outputs", []), "outputs")]
        self._single = {
            _text(entry, "name"): _flag(_object(entry.get("parameters", {}), "parameters"), "binary_data", self._all)
            for entry in entries
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Those that were asked for by name."""
        return tuple(self._single)

    def binary(self, name: str) -> bool:
        """Whether this output stands behind the JSON."""
        return self._single.get(name, self._all)


def request_from_body(
    body: bytes, json_size: int | None, query: Mapping[str, str], model: ServedModel
) -> tuple[Request, WantedOutputs]:
    """A request.

    Args:
        body: of the HTTP request.
        json_size: what its header ``Inference-Header-Content-Length`` says; None: there is none.
        query: of its address; read where there is no JSON.
        model: which is asked.

    Raises:
        RequestError: the body breaks the protocol.
    """
    if json_size == 0:
        return _bare_request(body, query, model)
    size = len(body) if json_size is None else json_size
    if not 0 <= size <= len(body):
        raise RequestError(
            f"the header {HEADER_LENGTH} does not fit the body", expected=f"0 to {len(body)}", got=str(json_size)
        )
    document = _object(_json(body[:size]), "the body")
    wanted = WantedOutputs(document)
    rest = memoryview(body)[size:]
    inputs: dict[str, Tensor] = {}
    for entry in _list(document.get("inputs", []), "inputs"):
        tensor, rest = _tensor(_object(entry, "an input"), rest)
        if tensor.name in inputs:
            raise RequestError(f"the input {tensor.name!r} is there twice", expected="each input once")
        inputs[tensor.name] = tensor
    if len(rest):
        raise RequestError("bytes are left over behind the last input", expected="none", got=str(len(rest)))
    number = document.get("id", "")
    if not isinstance(number, str):
        raise RequestError("the request's id is no text", expected="text", got=repr(number)[:80])
    return Request(inputs, _object(document.get("parameters", {}), "parameters"), wanted.names, number), wanted


def body_from_response(response: Response, wanted: WantedOutputs) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON where bytes follow; None where none do."""
    if wanted.bare and isinstance(response.outputs[0].values, list):
        return response.outputs[0].values[0], 0
    outputs, binary = [], []
    for tensor in response.outputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if wanted.binary(tensor.name):
            binary.append(tensor.to_raw())
            entry["parameters"] = {"binary_data_size": len(binary[-1])}
        elif isinstance(tensor.values, list):
            entry |= _text_values(tensor.values)
        else:
            entry["data"] = tensor.values.ravel().tolist()
        outputs.append(entry)
    document: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        document["id"] = response.id
    head = json.dumps(document | {"outputs": outputs}, ensure_ascii=False).encode()
    return b"".join([head, *binary]), len(head) if binary else None


def metadata(model: ServedModel) -> dict[str, Any]:
    """``GET /v2/models/NAME``: the tensors, and our own facts under ``parameters``."""
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": "ptp-deploy",
        "inputs": [spec_values(spec) for spec in model.inputs],
        "outputs": [spec_values(spec) for spec in model.outputs.specs],
        "parameters": model.facts(),
    }


def spec_values(spec: TensorSpec) -> dict[str, Any]:
    """An input or output as the protocol describes it."""
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _bare_request(body: bytes, query: Mapping[str, str], model: ServedModel) -> tuple[Request, WantedOutputs]:
    names = [name for name in query.get("outputs", "").split(",") if name]
    parameters: dict[str, Any] = {}
    for name, text in query.items():
        if name == "outputs":
            continue
        if text not in _FLAGS and not (text.isascii() and text.isdigit() and len(text) < 10):
            raise RequestError(
                f"the query's {name!r} has no such value", expected="a number, true or false", got=text[:40]
            )
        parameters[name] = _FLAGS[text] if text in _FLAGS else int(text)
    wanted = WantedOutputs({"outputs": [{"name": name} for name in names]}, bare=True)
    only = model.inputs[0].name
    return Request({only: Tensor.of_bytes(only, [body])}, parameters, tuple(names)), wanted


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise RequestError("the body is no JSON", expected="a JSON object", got=str(error)[:120]) from error


def _tensor(entry: Mapping[str, Any], rest: memoryview) -> tuple[Tensor, memoryview]:
    name, datatype = _text(entry, "name"), _text(entry, "datatype")
    shape = require_shape(name, _list(entry.get("shape"), f"the shape of {name!r}"))
    parameters = _object(entry.get("parameters", {}), "parameters")
    if "binary_data_size" not in parameters:
        return _tensor_from_json(name, datatype, shape, entry.get("data"), parameters), rest
    size = parameters["binary_data_size"]
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(rest):
        raise RequestError(
            f"binary_data_size of the input {name!r} does not fit the body",
            expected=f"0 to {len(rest)}, which are left",
            got=repr(size)[:80],
        )
    return tensor_from_raw(name, datatype, shape, rest[:size]), rest[size:]


def _tensor_from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any, parameters: Any) -> Tensor:
    values = _flat(_list(data, f"the data of {name!r}"))
    if len(values) != math.prod(shape):
        raise RequestError(
            f"the input {name!r} has not as many values as its shape says",
            expected=str(math.prod(shape)),
            got=str(len(values)),
        )
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, [_from_text(name, value, parameters) for value in values])
    if datatype not in NUMBERS:
        raise unknown_datatype(name, datatype)
    kind = bool if datatype == "BOOL" else int if datatype in RANGES else (int, float)
    if any(not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)) for value in values):
        raise RequestError(f"a value of the input {name!r} is of another kind", expected=datatype)
    if values and datatype in RANGES:
        require_range(name, datatype, values)
    with np.errstate(over="ignore"):
        return Tensor(name, datatype, shape, np.array(values, NUMBERS[datatype]).reshape(shape))


def _flat(values: list[Any]) -> list[Any]:
    """Nested lists, row by row; the protocol allows both."""
    while values and all(isinstance(value, list) for value in values):
        values = [inner for value in values for inner in value]
    return values


def _from_text(name: str, value: Any, parameters: Mapping[str, Any]) -> bytes:
    if not isinstance(value, str):
        raise RequestError(f"an element of the input {name!r} is no text", expected="base64", got=type(value).__name__)
    if parameters.get("content_type") != "base64":
        return value.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"an element of the input {name!r} is no base64", got=str(error)) from error


def _text_values(elements: list[bytes]) -> dict[str, Any]:
    try:
        return {"data": [element.decode() for element in elements]}
    except UnicodeDecodeError:
        return {
            "data": [base64.b64encode(element).decode() for element in elements],
            "parameters": {"content_type": "base64"},
        }


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{what} is no JSON object", expected="{…}", got=type(value).__name__)
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise RequestError(f"{what} is no list", expected="[…]", got=type(value).__name__)
    return value


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise RequestError(f"{key!r} is missing or no text", expected="text", got=repr(value)[:80])
    return value


def _flag(parameters: Mapping[str, Any], key: str, default: bool = False) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise RequestError(f"the parameter {key!r} is of another kind", expected="true or false", got=repr(value)[:80])
    return value
