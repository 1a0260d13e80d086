"""ONNX files of the pocket model's integer path, byte by byte: they need neither onnx nor torch.

The same layers as ``ptp_runtime.selftest.pocket_integer``, as Conv, Add, Floor and Clip; checkerboard only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.selftest.pocket_integer import (
    ACTIVATION_LIMIT,
    CONTEXT_LIMIT,
    MEAN_LIMIT,
    Convolve,
    context_name,
    hyper,
    step,
)
from ptp_runtime.selftest.pocket_model import CHECKERBOARD

Array = npt.NDArray[Any]
_FLOAT, _UINT8, _INT16, _INT64 = 1, 2, 5, 7


def field(number: int, value: int | bytes | str) -> bytes:
    """One protobuf field: a varint or a length-delimited one."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


class Graph:
    """Nodes and weights in the order in which they are added."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.ends: list[bytes] = []

    def weight(self, name: str, array: Array) -> str:
        """A TensorProto among the initialisers; returns its name."""
        kind = {np.dtype(np.float32): _FLOAT, np.dtype(np.int64): _INT64}[array.dtype]
        dims = b"".join(field(1, n) for n in array.shape)
        self.parts.append(field(5, dims + field(2, kind) + field(8, name) + field(9, array.tobytes())))
        return name

    def node(self, operator: str, inputs: list[str], output: str, attributes: bytes = b"") -> str:
        """A NodeProto; returns its output."""
        names = b"".join(field(1, name) for name in inputs) + field(2, output)
        self.parts.append(field(1, names + field(3, output + " node") + field(4, operator) + attributes))
        return output

    def end(self, number: int, name: str, kind: int, channels: int | str) -> None:
        """A ValueInfoProto [1, channels, h, w]: 11 an input, 12 an output."""
        named = [field(1, channels) if isinstance(channels, int) else field(2, channels), field(2, "h"), field(2, "w")]
        shape = field(1, field(1, 1)) + b"".join(field(1, dimension) for dimension in named)
        self.ends.append(field(number, field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))))

    def model(self) -> bytes:
        """The ModelProto: opset 13."""
        graph = b"".join(self.parts) + field(2, "pocket") + b"".join(self.ends)
        return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))

    def clip(self, source: str, output: str, low: float, high: float) -> str:
        bounds = [self.weight(f"{output} {n}", np.array(value, np.float32)) for n, value in ((0, low), (1, high))]
        return self.node("Clip", [source, *bounds], output)

    def convolution(self, source: str, output: str, weight: Array, bias: Array) -> str:
        pads = field(1, "pads") + b"".join(field(8, weight.shape[2] // 2) for _ in range(4)) + field(20, 7)
        names = [self.weight(f"{output} W", weight), self.weight(f"{output} b", bias)]
        return self.node("Conv", [source, *names], output, field(5, pads))

    def activation(self, source: str, output: str, low: float, high: float) -> str:
        return self.clip(self.node("Floor", [source], f"{output} floor"), output, low, high)


def layers_of(graph: str) -> dict[str, tuple[Array, Array]]:
    """Weights of a graph's layers by name: the pocket model's own functions are asked for them."""
    found: dict[str, tuple[Array, Array]] = {}

    def record(name: str, x: Array, weight: Array, bias: Array) -> Array:
        found[name] = weight, bias
        return np.zeros((len(bias), *x.shape[1:]), np.float32)

    convolve: Convolve = record
    if graph == "hyper":
        hyper({"z_hat": np.zeros((1, 2, 1, 1), np.float32)}, len(CHECKERBOARD), convolve)
        return found
    number = int(graph.removeprefix("step_"))
    start, stop, region = CHECKERBOARD[number]
    inputs = {name: np.zeros((1, 6, 4, 4), np.float32) for name in (f"part_{number:02d}", context_name(number - 1))}
    inputs["y_int"] = np.zeros((1, 8, 4, 4), np.float32)
    step(inputs, number, slice(start, stop), region, (slice(None),), convolve)
    return found


def file(graph: str, changes: dict[str, float] | None = None) -> bytes:
    """The ONNX file of ``hyper`` or a step.

    Args:
        graph: its name.
        changes: by layer, what is added to the first weight in the middle of the first output.
    """
    layers = layers_of(graph)
    for name, change in (changes or {}).items():
        weight = layers[name][0].copy()
        weight[0, :, weight.shape[2] // 2, weight.shape[2] // 2] += np.float32(change)
        layers[name] = weight, layers[name][1]
    g = Graph()
    if graph == "hyper":
        _hyper(g, layers)
    else:
        _step(g, int(graph.removeprefix("step_")), layers)
    return g.model()


def _hyper(g: Graph, layers: dict[str, tuple[Array, Array]]) -> None:
    g.end(11, "z_hat", _FLOAT, 2)
    z = g.clip("z_hat", "z", -CONTEXT_LIMIT, CONTEXT_LIMIT)
    first = g.activation(g.convolution(z, "hyper/0 sums", *layers["hyper/0"]), "hyper/0", 0, ACTIVATION_LIMIT)
    scales = g.weight("scales", np.array([1, 1, 4, 4], np.float32))
    roi = g.weight("roi", np.zeros(0, np.float32))
    nearest = [("coordinate_transformation_mode", "asymmetric"), ("mode", "nearest"), ("nearest_mode", "floor")]
    attributes = b"".join(field(5, field(1, name) + field(4, value) + field(20, 3)) for name, value in nearest)
    up = g.node("Resize", [first, roi, scales], "up", attributes)
    mean = g.convolution(up, "hyper/mu sums", *layers["hyper/mu"])
    g.activation(mean, "hyper/mu", -CONTEXT_LIMIT, CONTEXT_LIMIT)
    g.node("Mul", ["hyper/mu", g.weight("sixteenth", np.array(1 / 16, np.float32))], "mu_hyper")
    g.end(12, "mu_hyper", _FLOAT, 8)
    for number in range(len(CHECKERBOARD)):
        g.convolution(up, f"part_{number:02d}", *layers[f"hyper/part/{number}"])
        g.end(12, f"part_{number:02d}", _FLOAT, 6)


def _step(g: Graph, number: int, layers: dict[str, tuple[Array, Array]]) -> None:
    name, (start, stop, region) = f"step_{number:02d}", CHECKERBOARD[number]
    g.end(11, f"part_{number:02d}", _FLOAT, 6)
    g.end(11, "y_int", _FLOAT, 8)
    latent = g.clip("y_int", "latent", -CONTEXT_LIMIT, CONTEXT_LIMIT)
    sums = g.convolution(latent, f"{name}/0 own", *layers[f"{name}/0"])
    sums = g.node("Add", [sums, f"part_{number:02d}"], f"{name}/0 sums")
    if region == "nonanchor":
        g.end(11, context_name(number - 1), _FLOAT, 6)
        sums = g.node("Add", [sums, context_name(number - 1)], f"{name}/0 all sums")
    hidden = g.activation(sums, f"{name}/0", 0, ACTIVATION_LIMIT)
    for output, kind, low, high in (("index", _UINT8, 0, 63), ("mean", _INT16, -MEAN_LIMIT, MEAN_LIMIT)):
        layer = f"{name}/{output}"
        g.activation(g.convolution(hidden, f"{layer} sums", *layers[layer]), layer, low, high)
        g.node("Cast", [layer], output, field(5, field(1, "to") + field(3, kind) + field(20, 2)))
        g.end(12, output, kind, stop - start)
    if region == "anchor":
        layer = f"{name}/context"
        g.activation(g.convolution(hidden, f"{layer} sums", *layers[layer]), layer, -CONTEXT_LIMIT, CONTEXT_LIMIT)
        g.node("Identity", [layer], context_name(number))
        g.end(12, context_name(number), _FLOAT, 6)
