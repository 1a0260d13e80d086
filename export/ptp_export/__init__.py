"""Turns a checkpoint into a bundle: graphs, ONNX, precision, engines, tables, verification.

The package sits above the other three and may import them; nobody imports it. Importing it costs nothing: torch, onnx
and the engine builders are imported by the modules that use them.
"""
