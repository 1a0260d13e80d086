"""What is proved of, and computed from, the ONNX files alone."""
