"""Edits of an ONNX model, one idea a file; each states what it requires and what it ensures (see ``graph_pass``)."""
