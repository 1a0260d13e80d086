"""Removes graph inputs whose values nothing reads."""

from __future__ import annotations

import onnx

from ptp_export.onnx_passes.graph_pass import GraphPass, consumers


class DropUnusedInputs(GraphPass):
    """An input that no node reads goes; one that is read only for its shape hands that over to an equal-shaped input.

    A coding step is traced with all its possible inputs; the first steps read fewer. Engines warn about an input that
    is used at build time only, and the runtime would copy it for nothing.
    """

    def edit(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        for value in list(graph.input):
            readers = consumers(graph).get(value.name, [])
            if any(node.op_type != "Shape" for node in readers):
                continue
            twin = self._twin(graph, value)
            if readers and twin is None:
                continue
            for node in readers:
                node.input[0] = twin or ""
            graph.input.remove(value)

    def ensures(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        if not after.graph.input:
            raise self.violated("no input is left", expected="a graph that reads one of its inputs")

    @staticmethod
    def _twin(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> str | None:
        """Another input with the same declared sizes whose values are read."""
        readers = consumers(graph)
        for other in graph.input:
            same = other.type.tensor_type.shape == value.type.tensor_type.shape
            if other.name != value.name and same and any(n.op_type != "Shape" for n in readers.get(other.name, [])):
                return str(other.name)
        return None
