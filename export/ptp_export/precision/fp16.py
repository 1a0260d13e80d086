"""FP16 from FP32: a rewrite of the finished graph. Inputs and outputs stay float32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ptp_calibration import TensorRange
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.onnx_passes.graph_pass import GraphPass
from ptp_export.precision.audit import PrecisionAudit, audit_precision
from ptp_export.precision.exclusions import Exclusion, find_exclusions
from ptp_export.precision.request import PrecisionRequest
from ptp_export.precision.typed_graph import SOURCES, TypedGraph
from ptp_runtime.errors import ExportError

#: Operators that read a tensor's size only, of whatever type it is.
_SIZE_READERS = frozenset({"Shape", "Size"})


class EntropyPathError(ExportError):
    """Somebody asked for another precision in the entropy path, which must give the same integers everywhere."""


class Fp16FromFp32(GraphPass):
    """Every float node outside the exclusions computes in float16.

    Requires: a float32 graph of plain operators with distinct node names and no sub-graphs. Ensures: the same inputs
    and outputs in float32, every excluded node still in float32, a file that ``onnx.checker`` accepts.
    """

    def __init__(self, exclusions: Iterable[Exclusion]) -> None:
        self._excluded = frozenset(name for exclusion in exclusions for name in exclusion.nodes)

    def requires(self, model: onnx.ModelProto) -> None:
        names = [node.name for node in model.graph.node]
        if "" in names or len(set(names)) != len(names):
            raise self.violated("nodes share a name or have none", expected="one name a node")
        for node in model.graph.node:
            if node.domain not in ("", "ai.onnx"):
                raise self.violated(
                    f"the node {node.name!r} is not an ONNX operator", got=f"{node.domain}.{node.op_type}"
                )
            if any(
                attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
                for attribute in node.attribute
            ):
                raise self.violated(f"the node {node.name!r} has a sub-graph", expected="a flat graph")
        types = set(TypedGraph(model).types.values())
        other = types & {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
        if other:
            got = ", ".join(sorted(TensorProto.DataType.Name(t) for t in other))
            raise self.violated("the graph is not in FP32", expected="float32 throughout", got=got)

    def edit(self, model: onnx.ModelProto) -> None:
        del model.graph.value_info[:]  # types written there would contradict the new ones
        typed = TypedGraph(model)
        _Rewriter(typed, self.half_nodes(typed)).write_to(model)

    def half_nodes(self, typed: TypedGraph) -> frozenset[str]:
        """Names of the nodes that will compute in float16."""
        return frozenset(
            node.name
            for node in typed.graph.node
            if typed.float_outputs(node)
            and typed.supports_half(node)
            and node.op_type not in SOURCES
            and node.name not in self._excluded
        )

    def ensures(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        onnx.checker.check_model(after, full_check=True)
        for old, new in zip(
            (*before.graph.input, *before.graph.output), (*after.graph.input, *after.graph.output), strict=True
        ):
            if old != new:
                raise self.violated(f"the tensor {old.name!r} changed at the graph's border")
        typed = TypedGraph(after)
        for node in after.graph.node:
            if node.name in self._excluded and typed.is_layer(node) and typed.computes_in(node) == "fp16":
                raise self.violated(f"the excluded node {node.name!r} was converted")


class _Rewriter:
    """One walk through the nodes in order; each value lives in the type that its producer computes in."""

    def __init__(self, typed: TypedGraph, half: frozenset[str]) -> None:
        self._typed, self._half = typed, half
        self._outputs = {value.name for value in typed.graph.output}
        self._in_half: dict[str, str] = {}  # value name → its name in the float16 version
        self._only_half: set[str] = set()  # values that exist in float16 only
        self._back: dict[str, str] = {}  # float16-only value → its float32 copy
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, TensorProto] = {}

    def write_to(self, model: onnx.ModelProto) -> None:
        for node in list(self._typed.graph.node):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            half = node.name in self._half
            castable = set(self._typed.castable(node))
            for i, name in enumerate(node.input):
                if not name:
                    continue
                if i in castable and half:
                    copy.input[i] = self._as_half(name)
                elif node.op_type in _SIZE_READERS:
                    copy.input[i] = self._as_stored(name)
                elif self._typed.types.get(name) == TensorProto.FLOAT:
                    copy.input[i] = self._as_float(name)
                else:
                    self._keep_weight(name)
            self._nodes.append(copy)
            if half:
                self._outputs_in_half(copy)
        del model.graph.node[:]
        model.graph.node.extend(self._nodes)
        del model.graph.initializer[:]
        model.graph.initializer.extend(self._weights.values())

    def _outputs_in_half(self, node: onnx.NodeProto) -> None:
        for i, name in enumerate(node.output):
            if not name or self._typed.types.get(name) != TensorProto.FLOAT:
                continue
            inner = name + "/fp16" if name in self._outputs else name
            node.output[i] = inner
            self._in_half[name] = inner
            self._only_half.add(name)
            if name in self._outputs:
                self._cast(inner, name, TensorProto.FLOAT)
                self._back[name] = name

    def _as_half(self, name: str) -> str:
        if name not in self._in_half:
            if name in self._typed.weights:
                values = numpy_helper.to_array(self._typed.weights[name]).astype(np.float16)
                self._in_half[name] = stored = name + "/fp16" if name in self._weights else name
                self._weights[stored] = numpy_helper.from_array(values, stored)
            else:
                self._in_half[name] = name + "/fp16"
                self._cast(name, name + "/fp16", TensorProto.FLOAT16)
        return self._in_half[name]

    def _as_float(self, name: str) -> str:
        if name in self._typed.weights:
            return self._keep_weight(name)
        if name not in self._only_half:
            return name
        if name not in self._back:
            self._back[name] = name + "/fp32"
            self._cast(self._in_half[name], name + "/fp32", TensorProto.FLOAT)
        return self._back[name]

    def _as_stored(self, name: str) -> str:
        self._keep_weight(name)
        return self._in_half[name] if name in self._only_half else name

    def _keep_weight(self, name: str) -> str:
        """Keep an initializer as it is; beside its float16 version it needs a name of its own."""
        if name not in self._typed.weights:
            return name
        stored = name + "/fp32" if self._in_half.get(name) == name else name
        tensor = TensorProto()
        tensor.CopyFrom(self._typed.weights[name])
        tensor.name = stored
        self._weights[stored] = tensor
        return stored

    def _cast(self, source: str, target: str, to: int) -> None:
        self._nodes.append(helper.make_node("Cast", [source], [target], name=f"cast:{target}", to=to))


def fp16_from_fp32(
    graph: OnnxGraph, ranges: Mapping[str, TensorRange], *, allow_partial: bool = False
) -> tuple[OnnxGraph, PrecisionAudit]:
    """Convert one graph and audit the result.

    Args:
        graph: in FP32, of any role but ``entropy``.
        ranges: of every float tensor of the graph, measured on real photos.
        allow_partial: accept nodes in FP32 that no named exclusion covers.

    Raises:
        EntropyPathError: the graph belongs to the entropy path.
        PrecisionNotMetError: FP16 was not reached where it should have been.
        ExportError: a tensor was not measured.
    """
    typed = TypedGraph(graph.model)
    require_convertible(graph, typed, ranges)
    exclusions = find_exclusions(typed, ranges)
    converted = onnx_graph(graph.name, graph.role, Fp16FromFp32(exclusions)(graph.model))
    request = PrecisionRequest(half=True, half_exclusions=exclusions)
    audit = audit_precision(typed, TypedGraph(converted.model), request, ranges)
    audit.require_met(graph.name, allow_partial=allow_partial)
    return converted, audit


def require_convertible(graph: OnnxGraph, typed: TypedGraph, ranges: Mapping[str, TensorRange]) -> None:
    """Refuse a graph of the entropy path, and one whose tensors were not all measured.

    Raises:
        EntropyPathError: the graph belongs to the entropy path.
        ExportError: a tensor was not measured.
    """
    if graph.role == "entropy":
        raise EntropyPathError(
            f"the graph {graph.name!r} belongs to the entropy path and is never converted",
            expected="role analysis, synthesis or head",
            got="role entropy",
            hint="leave it in FP32: encoder and decoder must compute the same integers",
        )
    measured = {name for node in graph.model.graph.node for name in typed.float_outputs(node)}
    missing = sorted(measured - set(ranges))
    if missing:
        raise ExportError(
            f"{len(missing)} tensors of the graph {graph.name!r} were never measured",
            got=", ".join(missing[:4]),
            hint="measure the ranges of this very file on real photos first",
        )
