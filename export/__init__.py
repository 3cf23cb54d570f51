"""From checkpoints to verified ONNX files."""
