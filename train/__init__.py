"""Training and evaluation of the detectors."""

import realtime.privacy  # noqa: F401 - before anything that imports onnxruntime
