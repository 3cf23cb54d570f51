"""Where the measurements of a run go beside its own files: TensorBoard, Weights & Biases, MLflow."""
