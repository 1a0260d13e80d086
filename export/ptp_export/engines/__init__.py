"""Engines from ONNX, for TensorRT-RTX and TensorRT through one strongly typed code path.

Each build runs in a process of its own (``worker``): a builder that crashes, hangs or eats the memory takes one build
with it, not the export. No GPU is needed to build for TensorRT-RTX; running an engine needs one.
"""
