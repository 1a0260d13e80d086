"""ONNX files from integer layers: ``hyper`` and one graph a step.

Each layer is Conv → Floor → Clip; its shift rides in the weights, which are whole numbers of 2^-shift. What a step's
first layers read of the hyper parameters is computed in ``hyper`` for all steps and handed over as ``part_<step>``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from ptp_calibration.integer_path.integer_network import IntegerLayer, IntegerNetwork, Term
from ptp_calibration.integer_path.network import (
    HYPER_FACTOR,
    HYPER_PARAMETERS,
    MU_HYPER,
    QUADRANTS,
    Y_INT,
    Z_HAT,
    EntropyNetwork,
    StepNetwork,
)
from ptp_calibration.integer_path.onnx_builder import OnnxBuilder
from ptp_calibration.integer_path.precision import SCALE_LEVELS
from ptp_calibration.integer_path.tensors import pieces

HYPER = "hyper"


def onnx_from_layers(integers: IntegerNetwork) -> dict[str, onnx.ModelProto]:
    """All graphs, ``hyper`` first, then the steps in coding order."""
    graphs = {HYPER: _hyper_graph(integers)}
    for step in integers.network.steps:
        graphs[step.name] = _step_graph(integers, step)
    return graphs


def hyper_name(layer: str) -> str:
    """What a layer of the hyper network is called in its file."""
    # The graph's output mu_hyper is in real units: the whole numbers behind it get another name.
    return f"{HYPER}/{layer}" if layer in HYPER_PARAMETERS else layer


def part_name(network: EntropyNetwork, step: StepNetwork) -> str:
    """Name of the tensor that ``hyper`` gives for a step: ``part_00`` for the first."""
    return f"part_{network.steps.index(step):02d}"


def _hyper_graph(integers: IntegerNetwork) -> onnx.ModelProto:
    network = integers.network
    graph = _Graph(OnnxBuilder(HYPER), integers)
    builder = graph.builder
    graph.read_clipped(Z_HAT, 1)
    for layer in network.hyper:
        graph.tensors[layer.name] = graph.layer(integers.layers[layer.name], hyper_name(layer.name))
    graph.mu_hyper(integers)
    for step in network.steps:
        readers = _hyper_readers(integers, step)
        part = part_name(network, step)
        if len(readers) == 1:
            graph.accumulator(readers[0], readers[0].hyper_terms, [], part, part)
        elif readers:
            names = [f"{part}/{done.name}" for done in readers]
            for done, name in zip(readers, names, strict=True):
                graph.accumulator(done, done.hyper_terms, [], name, name)
            builder.node("Concat", names, part, axis=1)
        if readers:
            builder.output(part, "float32", sum(len(done.grid) for done in readers), _factor(step))
    return builder.model()


def _step_graph(integers: IntegerNetwork, step: StepNetwork) -> onnx.ModelProto:
    network = integers.network
    graph = _Graph(OnnxBuilder(step.name), integers)
    builder = graph.builder
    readers = _hyper_readers(integers, step)
    parts: dict[str, str] = {}
    if readers:
        sizes = [len(done.grid) for done in readers]
        part = builder.input(part_name(network, step), sum(sizes), _factor(step))
        parts = {done.name: f"{part}/{done.name}" if len(readers) > 1 else part for done in readers}
        if len(readers) > 1:
            builder.split_channels(part, sizes, list(parts.values()))
    own = {layer.name for layer in step.layers}
    read = dict.fromkeys(source.tensor for layer in step.layers for source in layer.inputs)
    for name in read:
        if name == Y_INT:
            graph.read_clipped(Y_INT, HYPER_FACTOR)
        elif name not in own and name not in HYPER_PARAMETERS:
            graph.tensors[name] = builder.input(name, graph.widths[name], _factor(step))
    for layer in step.layers:
        done = integers.layers[layer.name]
        before = [parts[layer.name]] if layer.name in parts else []
        graph.tensors[layer.name] = graph.layer(done, layer.name, before)
    graph.heads(step)
    for name in network.shared_layers()[step.name]:
        builder.output(name, "float32", graph.widths[name], _factor(step))
    return builder.model()


def single_term_weights(done: IntegerLayer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of a layer's one convolution as they stand in the ONNX file, exactly."""
    (term,) = done.terms
    shift = done.grid.astype(np.int32)
    weight = np.ldexp(term.weight, -shift[:, None, None, None]).astype(np.float32)
    return weight, np.ldexp(done.bias, -shift).astype(np.float32)


class _Graph:
    """One graph: what its tensors are called, and how a layer is written."""

    def __init__(self, builder: OnnxBuilder, integers: IntegerNetwork) -> None:
        self.builder = builder
        self.widths = integers.widths()
        self.tensors: dict[str, str] = {}
        self._units = integers.units

    def read_clipped(self, name: str, factor: int) -> None:
        """Declare an input that comes from outside: nothing is computed with it before it is clipped."""
        limit = self._units[name].limit
        x = self.builder.input(name, self.widths[name], factor)
        self.tensors[name] = self.builder.clip(x, -limit, limit, f"{name}/clipped")

    def layer(self, done: IntegerLayer, name: str, before: Sequence[str] = ()) -> str:
        """Write a layer, or what is left of it where a part of its sum was computed ``before``."""
        terms = [term for term in done.terms if not term.of_hyper] if before else done.terms
        total = before[0] if before and not terms else self.accumulator(done, terms, before, name, f"{name}/sum")
        x = self.builder.node("Floor", [total], f"{name}/floor")
        if not done.shuffle:
            return self.builder.clip(x, done.low, done.high, name, f"{name}/clip")
        x = self.builder.clip(x, done.low, done.high, f"{name}/clip")
        return self.builder.node("DepthToSpace", [x], name, f"{name}/shuffle", blocksize=2, mode="CRD")

    def accumulator(
        self, done: IntegerLayer, terms: Sequence[Term], before: Sequence[str], name: str, output: str
    ) -> str:
        """Write terms of a layer and their sum with what was computed before."""
        alone = len(terms) + len(before) == 1
        names = list(before)
        for number, term in enumerate(terms):
            inner = name if len(terms) == 1 else f"{name}/term_{number}"
            names.append(self._term(done, term, inner, output if alone else f"{inner}/conv"))
        total = names[0]
        for number, other in enumerate(names[1:], start=2):
            total = self.builder.node("Add", [total, other], output if number == len(names) else f"{name}/sum_{number}")
        return total

    def _term(self, done: IntegerLayer, term: Term, name: str, output: str) -> str:
        x = self.builder.gathered(term.pieces, self.tensors, self.widths)
        cut = done.is_cut(term)
        finer = term.shift - done.grid
        # A cut term comes out in whole steps of the layer's grid, the others in output steps.
        shift = finer if cut else done.grid
        bias = 0.5 * (finer > 0)
        if term is done.terms[0]:
            bias = bias + (done.bias if cut else np.ldexp(done.bias, -shift.astype(np.int32)))
        weight = np.ldexp(term.weight, -shift.astype(np.int32)[:, None, None, None])
        stored = bias.astype(np.float32) if bias.any() else None
        if not cut:
            return self.builder.convolution(name, x, weight.astype(np.float32), stored, output)
        x = self.builder.convolution(name, x, weight.astype(np.float32), stored, f"{name}/whole")
        x = self.builder.node("Floor", [x], f"{name}/cut")
        unit = np.ldexp(1.0, -done.grid.astype(np.int32)).astype(np.float32)[None, :, None, None]
        return self.builder.node("Mul", [x, self.builder.constant(f"{name}/unit", unit)], output, f"{name}/units")

    def mu_hyper(self, integers: IntegerNetwork) -> None:
        """What the synthesis reads, in real units, and what the steps read, coarser."""
        fine, shift = self.tensors[MU_HYPER], integers.mu_shift
        scale = np.ldexp(integers.units[MU_HYPER].scale, -shift)
        for name, factor in (("scale", scale), ("fraction", np.full(len(scale), 0.5**shift))):
            self.builder.constant(f"{fine}/{name}", factor.astype(np.float32)[None, :, None, None])
        self.builder.node("Mul", [fine, f"{fine}/scale"], MU_HYPER)
        self.builder.output(MU_HYPER, "float32", len(scale), HYPER_FACTOR)
        x = self.builder.node("Mul", [fine, f"{fine}/fraction"], f"{fine}/shifted")
        self.tensors[MU_HYPER] = self.builder.node("Floor", [x], f"{fine}/coarse", f"{fine}/coarse/floor")

    def heads(self, step: StepNetwork) -> None:
        """The coder's numbers: table index as uint8, mean in sixteenths as int16."""
        size = step.channels[1] - step.channels[0]
        index = self.builder.gathered(pieces([step.index], self.widths), self.tensors, self.widths)
        index = self.builder.clip(index, 0, SCALE_LEVELS - 1, "index/clip")
        mean = self.builder.gathered(pieces([step.mean], self.widths), self.tensors, self.widths)
        for x, output, dtype in ((index, "index", "uint8"), (mean, "mean", "int16")):
            self.builder.cast(x, output, dtype)
            self.builder.output(output, dtype, size, _factor(step))


def _hyper_readers(integers: IntegerNetwork, step: StepNetwork) -> list[IntegerLayer]:
    """Layers of a step with a part that hyper computes."""
    layers = [integers.layers[layer.name] for layer in step.layers]
    return [done for done in layers if done.hyper_terms]


def _factor(step: StepNetwork) -> int:
    """Side of a step's tensors in sides of z."""
    return HYPER_FACTOR // 2 if step.region in QUADRANTS else HYPER_FACTOR
