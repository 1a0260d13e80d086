"""Gives the graph's inputs and outputs the symbolic shapes that the bundle declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from ptp_export.onnx_passes.graph_pass import GraphPass
from ptp_export.tensor_spec import TensorSpec


class DeclareInterface(GraphPass):
    """Requires the declared names and dtypes; ensures the declared dims, with ``bindings`` put in for a static graph.

    The tracer names sizes as it likes (``4*s39``); readers of a bundle get one vocabulary.
    """

    def __init__(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], bindings: Mapping[str, int] | None
    ) -> None:
        self._inputs, self._outputs, self._bindings = tuple(inputs), tuple(outputs), dict(bindings or {})

    def requires(self, model: onnx.ModelProto) -> None:
        for what, specs, values in (
            ("input", self._inputs, model.graph.input),
            ("output", self._outputs, model.graph.output),
        ):
            if [spec.name for spec in specs] != [value.name for value in values]:
                raise self.violated(
                    f"the graph's {what}s are not the declared ones",
                    expected=", ".join(spec.name for spec in specs),
                    got=", ".join(value.name for value in values),
                )
            for spec, value in zip(specs, values, strict=True):
                tensor = value.type.tensor_type
                dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
                if dtype != spec.dtype:
                    raise self.violated(f"the {what} {spec.name!r} has another dtype", expected=spec.dtype, got=dtype)
                if len(tensor.shape.dim) != len(spec.dims):
                    raise self.violated(f"the {what} {spec.name!r} has another rank", expected=str(spec.dims))
                for dim, declared in zip(tensor.shape.dim, spec.bind(self._bindings), strict=True):
                    if isinstance(declared, int) and dim.HasField("dim_value") and dim.dim_value != declared:
                        raise self.violated(
                            f"the {what} {spec.name!r} has another size", expected=str(declared), got=str(dim.dim_value)
                        )

    def edit(self, model: onnx.ModelProto) -> None:
        for specs, values in ((self._inputs, model.graph.input), (self._outputs, model.graph.output)):
            for spec, value in zip(specs, values, strict=True):
                for dim, declared in zip(value.type.tensor_type.shape.dim, spec.bind(self._bindings), strict=True):
                    if isinstance(declared, int):
                        dim.dim_value = declared
                    elif not (self._bindings and dim.HasField("dim_value")):
                        # A size that follows from the inputs is a number in a static graph; keep it.
                        dim.dim_param = declared
