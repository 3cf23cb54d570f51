"""From checkpoints to verified ONNX files."""

import realtime.privacy  # noqa: F401 - before anything that imports onnxruntime
