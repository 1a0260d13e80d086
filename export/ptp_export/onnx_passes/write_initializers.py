"""Puts real values into an exported template."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ptp_export.onnx_passes.graph_pass import GraphPass


class WriteInitializers(GraphPass):
    """Replaces the values of named initializers.

    Requires that every name is an initializer of the same shape and dtype: task prompts start at zero, and an exporter
    that sees zeros drops zero biases and merges equal weights without a word.
    """

    def __init__(self, values: Mapping[str, NDArray[np.generic]]) -> None:
        self._values = dict(values)

    def requires(self, model: onnx.ModelProto) -> None:
        present = {initializer.name: initializer for initializer in model.graph.initializer}
        missing = sorted(set(self._values) - set(present))
        if missing:
            raise self.violated(
                f"{len(missing)} parameters are not in the exported file",
                expected=f"all {len(self._values)} as initializers",
                got=f"none named {', '.join(missing[:4])}",
                hint="the exporter folded or dropped them: export with other template values",
            )
        for name, value in self._values.items():
            stored = numpy_helper.to_array(present[name])
            if stored.shape != value.shape or stored.dtype != value.dtype:
                raise self.violated(
                    f"the initializer {name!r} is of another kind",
                    expected=f"{value.dtype}{list(value.shape)}",
                    got=f"{stored.dtype}{list(stored.shape)}",
                )

    def edit(self, model: onnx.ModelProto) -> None:
        for initializer in model.graph.initializer:
            if initializer.name in self._values:
                value = np.ascontiguousarray(self._values[initializer.name])
                initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))

    def ensures(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        for initializer in after.graph.initializer:
            expected = self._values.get(initializer.name)
            if expected is not None and not np.array_equal(
                numpy_helper.to_array(initializer), expected, equal_nan=True
            ):
                raise self.violated(f"the initializer {initializer.name!r} did not take its value")
