"""What a graph must compute and move, and how fast a device does either: below which time no run of it can come.

The roofline model of Williams, Waterman and Patterson (2009): the longer of arithmetic over the rate of arithmetic and
bytes over the rate of memory.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx.helper import tensor_dtype_to_np_dtype

LAYERS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Work:
    """Of one run."""

    flop: float
    """Two for each multiplication with its addition, of convolutions and matrix products."""
    bytes: float
    """In and out of these layers, weights among it: all that is moved if everything between them is fused into them."""

    def least_ms(self, rates: "Rates") -> float:
        """Milliseconds below which a device of these rates cannot do it."""
        return 1000 * max(self.flop / rates.flop_per_s, self.bytes / rates.bytes_per_s)


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device was measured to do."""

    flop_per_s: float
    bytes_per_s: float


def work_of(path: Path) -> Work:
    """The work of an ONNX file of fixed shapes."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True, data_prop=True)
    graph = model.graph
    shapes = {tensor.name: (list(tensor.dims), tensor.data_type) for tensor in graph.initializer}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        kind = value.type.tensor_type
        shapes[value.name] = ([dim.dim_value for dim in kind.shape.dim], kind.elem_type)
    layers = [node for node in graph.node if node.op_type in LAYERS]
    moved = sum(_bytes(*shapes[name]) for node in layers for name in [*node.input, *node.output] if name)
    return Work(sum(_flop(node, shapes) for node in layers), moved)


def rates_of(device: str, dtype: torch.dtype, *, side: int, copied: int) -> Rates:
    """Measure a device: the product of two square matrices of ``side``, and a copy of ``copied`` bytes."""
    a = torch.ones(side, side, dtype=dtype, device=device)
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product_s = _best_s(lambda: torch.mm(a, a), device)
    copy_s = _best_s(lambda: target.copy_(source), device)
    return Rates(2 * side**3 / product_s, 2 * copied / copy_s)  # a copy reads and writes


def _flop(node: onnx.NodeProto, shapes: dict[str, tuple[list[int], int]]) -> float:
    """Two for each element of the output and each element that is summed up in it."""
    out = math.prod(shapes[node.output[0]][0])
    if node.op_type == "Conv":
        return 2 * out * math.prod(shapes[node.input[1]][0][1:])  # weights are (out, in / groups, height, width)
    first = shapes[node.input[0]][0]
    is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return 2 * out * first[-2 if is_transposed else -1]


def _bytes(shape: list[int], element_type: int) -> int:
    return math.prod(shape) * tensor_dtype_to_np_dtype(element_type).itemsize


def _best_s(work: Callable[[], Any], device: str, tries: int = 10) -> float:
    """The quickest of several runs: a device's rate is what it can do undisturbed."""
    wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else lambda: None
    work()
    times_s = []
    for _ in range(tries):
        wait()
        started_s = time.perf_counter()
        work()
        wait()
        times_s.append(time.perf_counter() - started_s)
    return min(times_s)
