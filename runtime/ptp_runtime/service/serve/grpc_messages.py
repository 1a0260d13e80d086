"""The messages of the Open Inference Protocol over gRPC, described here and kept in a pool of their own.

Source: the protocol's ``GRPCInferenceService``. Generated code would tie the runtime to one release of protobuf, and
would clash with clients' copies of the same file in one process; a private pool does neither.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_KINDS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}
_ONE_OF = "parameter_choice"

# Message → fields in the order of their numbers, from 1. "*" repeats; "map" is a map of InferParameter by name; "?" is
# one of the choices of InferParameter.
_MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready",),
    "ModelReadyRequest": ("string name", "string version"),
    "ModelReadyResponse": ("bool ready",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("string name", "string version", "*string extensions"),
    "ModelMetadataRequest": ("string name", "string version"),
    "TensorMetadata": ("string name", "string datatype", "*int64 shape"),
    "ModelMetadataResponse": (
        "string name",
        "*string versions",
        "string platform",
        "*TensorMetadata inputs",
        "*TensorMetadata outputs",
    ),
    "InferParameter": (
        "?bool bool_param",
        "?int64 int64_param",
        "?string string_param",
        "?double double_param",
        "?uint64 uint64_param",
    ),
    "InferTensorContents": (
        "*bool bool_contents",
        "*int32 int_contents",
        "*int64 int64_contents",
        "*uint32 uint_contents",
        "*uint64 uint64_contents",
        "*float fp32_contents",
        "*double fp64_contents",
        "*bytes bytes_contents",
    ),
    "InferInputTensor": (
        "string name",
        "string datatype",
        "*int64 shape",
        "map parameters",
        "InferTensorContents contents",
    ),
    "InferRequestedOutputTensor": ("string name", "map parameters"),
    "ModelInferRequest": (
        "string model_name",
        "string model_version",
        "string id",
        "map parameters",
        "*InferInputTensor inputs",
        "*InferRequestedOutputTensor outputs",
        "*bytes raw_input_contents",
    ),
    "InferOutputTensor": (
        "string name",
        "string datatype",
        "*int64 shape",
        "map parameters",
        "InferTensorContents contents",
    ),
    "ModelInferResponse": (
        "string model_name",
        "string model_version",
        "string id",
        "map parameters",
        "*InferOutputTensor outputs",
        "*bytes raw_output_contents",
    ),
}


def _add_field(message: DescriptorProto, number: int, text: str) -> None:
    if text.startswith("map "):
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add_field(entry, 1, "string key")
        _add_field(entry, 2, "InferParameter value")
        text = f"*{message.name}.ParametersEntry {text.removeprefix('map ')}"
    kind, _, name = text.lstrip("*?").partition(" ")
    field = message.field.add(name=name, number=number)
    field.label = FieldDescriptorProto.LABEL_REPEATED if text[0] == "*" else FieldDescriptorProto.LABEL_OPTIONAL
    if kind in _KINDS:
        field.type = _KINDS[kind]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    if text[0] == "?":
        if not message.oneof_decl:
            message.oneof_decl.add(name=_ONE_OF)
        field.oneof_index = 0


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="ptp_open_inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields, start=1):
            _add_field(message, number, text)
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _MESSAGES}


MESSAGES: dict[str, Any] = _classes()
"""Classes of the messages by name."""


def parameter_value(parameter: Any) -> Any:
    """What an ``InferParameter`` holds; None for nothing."""
    chosen = parameter.WhichOneof(_ONE_OF)
    return None if chosen is None else getattr(parameter, chosen)
