"""A finished ONNX file in memory. Knows nothing of torch, so that the files of a bundle can be read back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import onnx
from onnx import helper

from ptp_export.tensor_spec import Role, TensorSpec
from ptp_runtime.errors import ExportError


@dataclass(frozen=True)
class OnnxGraph:
    """One graph, checked and serialised.

    Attributes:
        name: file stem and the name in the manifest.
        role: which limits and which precision rules apply; ``entropy`` is never converted.
        model: the file's content.
        data: the file's bytes; equal models give equal bytes.
        inputs, outputs: as declared in the file: numbers where static, symbolic sizes where not.
        integer: it computes whole numbers alone, exactly, on every backend.
    """

    name: str
    role: Role
    model: onnx.ModelProto
    data: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    integer: bool = False

    @property
    def sha256(self) -> str:
        """Digest of the file, hex."""
        return hashlib.sha256(self.data).hexdigest()


def onnx_graph(name: str, role: Role, model: onnx.ModelProto, *, integer: bool = False) -> OnnxGraph:
    """Check a model and serialise it.

    Args:
        name, role, integer: see :class:`OnnxGraph`.
        model: the file's content.

    Raises:
        ExportError: ``onnx.checker`` refuses it.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the graph {name!r} is not valid ONNX", got=str(error).strip().splitlines()[0]) from error
    return OnnxGraph(
        name=name,
        role=role,
        model=model,
        data=model.SerializeToString(deterministic=True),
        inputs=tuple(_declared(value) for value in model.graph.input),
        outputs=tuple(_declared(value) for value in model.graph.output),
        integer=integer,
    )


def _declared(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim)
    return TensorSpec(value.name, helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, dims)
