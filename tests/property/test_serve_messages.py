"""Bodies of HTTP and messages of gRPC: what is written is read again, and whatever else comes is refused by type."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptp_runtime.errors import RequestError
from ptp_runtime.service.serve.grpc_messages import MESSAGES, parameter_value
from ptp_runtime.service.serve.grpc_service import message_from_response, request_from_message
from ptp_runtime.service.serve.http_messages import WantedOutputs, body_from_response, request_from_body
from ptp_runtime.service.serve.requests import Response
from ptp_runtime.service.serve.tensors import NUMBERS, Tensor, TensorSpec, tensor_from_raw

# How long it takes says nothing about what is tested, and other tests run beside these.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class _Model:
    """As much of a model as the messages look at."""

    inputs = (TensorSpec("PHOTO", "BYTES", (-1,)),)


MODEL: Any = _Model()
elements = st.lists(st.binary(max_size=40), max_size=5)
numbers = st.sampled_from(sorted(NUMBERS))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["PHOTO", "RATE", "", "é", "x" * 200])
shapes = st.lists(st.integers(-2, 5), max_size=4) | anything
entries = st.fixed_dictionaries(
    {},
    optional={
        "name": names | anything,
        "datatype": st.sampled_from([*NUMBERS, "BYTES", "FP8"]) | anything,
        "shape": shapes,
        "data": anything,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-3, 60) | anything})
        | anything,
    },
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(entries, max_size=3) | anything,
        "outputs": st.lists(entries, max_size=3) | anything,
        "parameters": anything,
        "id": anything,
    },
)


@unhurried
@given(elements, numbers, st.integers(0, 4), st.integers(0, 4))
def test_tensors_survive_the_wire(values: list[bytes], datatype: str, rows: int, columns: int) -> None:
    texts = Tensor.of_bytes("T", values)
    array = np.arange(rows * columns).reshape(rows, columns).astype(NUMBERS[datatype])
    figures = Tensor.of_array("N", datatype, array)

    assert tensor_from_raw("T", "BYTES", texts.shape, texts.to_raw()).values == values
    assert np.array_equal(tensor_from_raw("N", datatype, figures.shape, figures.to_raw()).values, array)


@unhurried
@given(st.binary(max_size=60), st.lists(st.integers(0, 4), max_size=3), st.sampled_from([*NUMBERS, "BYTES", "FP8"]))
def test_foreign_bytes_are_a_tensor_or_are_refused(raw: bytes, shape: list[int], datatype: str) -> None:
    try:
        tensor = tensor_from_raw("T", datatype, tuple(shape), raw)
    except RequestError:
        return
    assert tensor.to_raw() == raw


@unhurried
@given(elements, elements)
def test_a_response_can_be_read_as_a_request(streams: list[bytes], results: list[bytes]) -> None:
    tensors = (Tensor.of_bytes("STREAM", streams), Tensor.of_bytes("RESULT", results))
    response = Response("m", "1", tensors, "id")
    wanted = WantedOutputs({"outputs": [{"name": "RESULT"}], "parameters": {"binary_data_output": True}})

    body, size = body_from_response(response, wanted)
    document = json.loads(body[:size])
    document["inputs"] = document.pop("outputs")
    for name in ("model_name", "model_version"):
        del document[name]
    head = json.dumps(document).encode()
    request, _ = request_from_body(head + body[size:], len(head), {}, MODEL)

    assert {name: tensor.values for name, tensor in request.inputs.items()} == {"STREAM": streams, "RESULT": results}
    assert request.id == "id"


@unhurried
@given(documents, st.binary(max_size=60), st.none() | st.integers(-1, 500))
def test_whatever_comes_over_http_is_a_request_or_is_refused(document: Any, rest: bytes, size: int | None) -> None:
    head = json.dumps(document).encode()
    body = head + rest

    try:
        request, wanted = request_from_body(body, len(head) if size is None else size, {}, MODEL)
    except RequestError:
        return
    assert all(isinstance(tensor, Tensor) for tensor in request.inputs.values())
    assert isinstance(wanted.names, tuple)


@unhurried
@given(st.binary(max_size=200), st.none() | st.integers(0, 200))
def test_whatever_bytes_come_are_a_request_or_are_refused(body: bytes, size: int | None) -> None:
    try:
        request_from_body(body, size, {}, MODEL)
    except RequestError:
        return


@unhurried
@given(elements, st.booleans(), st.integers(-5, 5))
def test_our_messages_are_the_clients(values: list[bytes], flag: bool, rate: int) -> None:
    client = pytest.importorskip("tritonclient.grpc.service_pb2")
    sent = client.ModelInferRequest(model_name="m", model_version="1", id="seven")
    sent.parameters["trace"].bool_param = flag
    sent.parameters["rate"].int64_param = rate
    sent.inputs.add(name="PHOTO", datatype="BYTES", shape=[len(values)])
    sent.raw_input_contents.append(Tensor.of_bytes("PHOTO", values).to_raw())
    sent.outputs.add(name="STREAM")

    ours = MESSAGES["ModelInferRequest"].FromString(sent.SerializeToString())
    request = request_from_message(ours)
    answer = message_from_response(Response("m", "1", (Tensor.of_bytes("STREAM", values),), request.id))
    theirs = client.ModelInferResponse.FromString(answer.SerializeToString())

    assert ours.SerializeToString(deterministic=True) == sent.SerializeToString(deterministic=True)
    assert request.inputs["PHOTO"].values == values
    assert request.parameters == {"trace": flag, "rate": rate}
    assert request.outputs == ("STREAM",)
    assert theirs.id == "seven"
    assert theirs.outputs[0].shape == [len(values)]
    assert theirs.raw_output_contents[0] == Tensor.of_bytes("STREAM", values).to_raw()


@unhurried
@given(st.binary(max_size=120))
def test_foreign_messages_are_requests_or_are_refused(data: bytes) -> None:
    from google.protobuf.message import DecodeError

    try:
        message = MESSAGES["ModelInferRequest"].FromString(data)
    except DecodeError:
        return
    try:
        request_from_message(message)
    except RequestError:
        return


def test_values_may_come_as_contents() -> None:
    message = MESSAGES["ModelInferRequest"]()
    message.inputs.add(name="RATE", datatype="INT32", shape=[1]).contents.int_contents.append(3)
    message.inputs.add(name="PHOTO", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"x")
    request = request_from_message(message)

    assert request.inputs["RATE"].values == np.array([3], np.int32)
    assert request.inputs["PHOTO"].values == [b"x"]
    assert parameter_value(MESSAGES["InferParameter"]()) is None
    message.inputs[0].shape[0] = 2
    with pytest.raises(RequestError, match="values"):
        request_from_message(message)
    message.inputs[0].shape[0] = 1
    message.inputs[0].datatype = "UINT8"
    message.inputs[0].contents.uint_contents.append(300)
    with pytest.raises(RequestError, match="range"):
        request_from_message(message)
