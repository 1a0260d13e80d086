"""FP16 as an edit of the FP32 graph, with named exclusions, and an audit of what was reached.

TensorRT 11 and TensorRT-RTX are strongly typed: they have no precision flags, and compute in what the graph says. A
graph nobody audited is how FP32 engines get shipped under an FP16 label.
"""
