"""The range and the size of every floating-point tensor of an ONNX graph, measured on real inputs.

The reductions run inside the graph, so that a measurement needs no more memory than an inference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ptp_calibration.cpu_session import CpuSession
from ptp_calibration.errors import CalibrationError

#: The mean is there for NaN alone, which ONNX Runtime's minimum and maximum pass over.
_SUFFIXES = ("/minimum", "/maximum", "/mean", "/shape")


@dataclass(frozen=True)
class TensorRange:
    """What one tensor did over all samples.

    Attributes:
        minimum, maximum: smallest and largest value.
        shape: of the sample with the most elements.
    """

    minimum: float
    maximum: float
    shape: tuple[int, ...]

    @property
    def magnitude(self) -> float:
        """Largest absolute value."""
        return max(abs(self.minimum), abs(self.maximum))

    def merged(self, other: TensorRange) -> TensorRange:
        """Both measurements as one."""
        larger = self if np.prod(self.shape) >= np.prod(other.shape) else other
        return TensorRange(min(self.minimum, other.minimum), max(self.maximum, other.maximum), larger.shape)


@dataclass(frozen=True)
class Ranges(Mapping[str, TensorRange]):
    """Tensor name → range, and how many samples were measured."""

    tensors: Mapping[str, TensorRange]
    samples: int

    def __getitem__(self, name: str) -> TensorRange:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def measure_ranges(
    model: onnx.ModelProto, samples: Iterable[Mapping[str, NDArray[np.generic]]], threads: int = 0
) -> Ranges:
    """Run the graph on every sample and keep each float tensor's extremes.

    Args:
        model: FP32 graph; not changed.
        samples: one mapping of input name → array each; real data, never random tensors.
        threads: of ONNX Runtime; 0 lets it choose.

    Returns:
        Ranges of all float32 inputs and inner tensors (weights are constants: read them).

    Raises:
        CalibrationError: no sample, a sample the graph does not take, or a tensor that is not finite.
    """
    names, augmented = _with_reductions(model)
    session = CpuSession(augmented, threads)
    wanted = [name + suffix for name in names for suffix in _SUFFIXES]
    found: dict[str, TensorRange] = {}
    count = 0
    for sample in samples:
        count += 1
        try:
            results = list(session.run(sample, wanted).values())
        except CalibrationError as error:
            raise CalibrationError(f"sample {count} does not fit the graph: {error}") from error
        for position, name in enumerate(names):
            low, high, mean, shape = results[4 * position : 4 * position + 4]
            if not np.isfinite([low, high, mean]).all():
                raise CalibrationError(f"the tensor {name} is not finite on sample {count}; the model is damaged")
            seen = TensorRange(float(low), float(high), tuple(int(n) for n in shape))
            found[name] = found[name].merged(seen) if name in found else seen
    if not count:
        raise CalibrationError("no sample was given; expected at least one real photo")
    return Ranges(found, count)


def _with_reductions(model: onnx.ModelProto) -> tuple[list[str], onnx.ModelProto]:
    """Names of the float32 tensors, and a copy of the model that outputs their minimum, maximum and shape."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    weights = {initializer.name for initializer in model.graph.initializer}
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    names = [
        value.name
        for value in values
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in weights
    ]
    names = list(dict.fromkeys(names))
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    del augmented.graph.output[:]
    for name in names:
        for operator, suffix, dtype, shape in (
            ("ReduceMin", "/minimum", TensorProto.FLOAT, []),
            ("ReduceMax", "/maximum", TensorProto.FLOAT, []),
            ("ReduceMean", "/mean", TensorProto.FLOAT, []),
            ("Shape", "/shape", TensorProto.INT64, [None]),
        ):
            node = helper.make_node(operator, [name], [name + suffix])
            if operator != "Shape":
                node.attribute.append(helper.make_attribute("keepdims", 0))
            augmented.graph.node.append(node)
            augmented.graph.output.append(helper.make_tensor_value_info(name + suffix, dtype, shape))
    return names, augmented
