"""Removes what a tracer leaves in a file about the machine it ran on."""

from __future__ import annotations

import onnx

from ptp_export.onnx_passes.graph_pass import GraphPass


class StripMetadata(GraphPass):
    """Removes stack traces, doc strings, module paths, inferred shapes of inner values, and the tracer's version.

    Stack traces carry file paths of the exporting machine; all of it would make two exports of one model differ. Inner
    shapes use the tracer's symbols (``s39``), which mean nothing outside; any reader infers them again.
    """

    def edit(self, model: onnx.ModelProto) -> None:
        model.producer_name, model.producer_version = "ptp_export", ""
        model.domain, model.doc_string, model.model_version = "", "", 0
        del model.metadata_props[:]
        del model.functions[:]
        graph = model.graph
        graph.name, graph.doc_string = "graph", ""
        del graph.metadata_props[:]
        del graph.value_info[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                attribute.doc_string = ""
        for value in (*graph.input, *graph.output):
            value.doc_string = ""
            del value.metadata_props[:]
        for initializer in graph.initializer:
            initializer.doc_string = ""
            del initializer.metadata_props[:]

    def requires(self, model: onnx.ModelProto) -> None:
        called = {node.op_type for node in model.graph.node} & {function.name for function in model.functions}
        if called:
            raise self.violated(
                "the model calls local functions", expected="plain operators", got=", ".join(sorted(called))
            )

    def ensures(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        for value in (*after.graph.input, *after.graph.output):
            if not value.type.tensor_type.elem_type:
                raise self.violated(f"the tensor {value.name!r} lost its type")
