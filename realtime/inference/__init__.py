"""The detector: an ONNX file run by onnxruntime on the CPU, CUDA or TensorRT.

May be called from several threads at once on the CPU.
"""
