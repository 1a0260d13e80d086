"""Triton's ``config.pbtxt``: the text form of its ``ModelConfig`` message, as far as our models need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ptp_runtime.manifest import TensorInfo
from ptp_runtime.service.serve.tensors import TensorSpec

KINDS = ("cpu", "gpu")
"""Where instances run."""

_TYPES = {
    **{name: f"TYPE_{name}" for name in ("BOOL", "FP16", "FP32", "FP64")},
    **{f"{sign}INT{bits}": f"TYPE_{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "BYTES": "TYPE_STRING",
}
_DTYPES = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "bool": "BOOL"}


@dataclass(frozen=True)
class Config:
    """One model's configuration. Batches are ours: shapes hold every axis, ``max_batch_size`` is 0.

    Attributes:
        name: of the model.
        backend: Triton's: ``python``, ``onnxruntime``, ``tensorrt``.
        inputs, outputs: all of them.
        instances: how many run at a time.
        kind: one of :data:`KINDS`.
        parameters: for the backend.
    """

    name: str
    backend: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    instances: int = 1
    kind: str = "cpu"
    parameters: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The file's text."""
        lines = [f"name: {_quoted(self.name)}", f"backend: {_quoted(self.backend)}", "max_batch_size: 0"]
        for key, specs in (("input", self.inputs), ("output", self.outputs)):
            lines += [f"{key} {{\n{_tensor(spec)}}}" for spec in specs]
        kind = f"KIND_{self.kind.upper()}"
        lines.append(f"instance_group {{\n  count: {self.instances}\n  kind: {kind}\n}}")
        for name, value in self.parameters.items():
            lines.append(f"parameters {{\n  key: {_quoted(name)}\n  value {{ string_value: {_quoted(value)} }}\n}}")
        return "\n".join(lines) + "\n"


def spec_of_graph(tensor: TensorInfo) -> TensorSpec:
    """A graph's input or output in the protocol's words; symbolic lengths are any."""
    shape = tuple(side if isinstance(side, int) else -1 for side in tensor.shape)
    return TensorSpec(tensor.name, _DTYPES.get(tensor.dtype, tensor.dtype.upper()), shape)


def _tensor(spec: TensorSpec) -> str:
    lines = [f"name: {_quoted(spec.name)}", f"data_type: {_TYPES[spec.datatype]}"]
    lines.append(f"dims: [ {', '.join(str(side) for side in spec.shape)} ]")
    if spec.optional:
        lines.append("optional: true")
    return "".join(f"  {line}\n" for line in lines)


def _quoted(text: str) -> str:
    """Text between quotes: protobuf's text format knows C's escapes of bytes."""
    plain = {ord('"'): '\\"', ord("\\"): "\\\\"}
    return '"' + "".join(plain.get(b, chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in text.encode()) + '"'
