"""A camera that shows a bright square which moves, and a model that finds it: what a browser shows can be checked."""

import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
from fakes import metadata
from onnx import TensorProto, helper

from realtime.sources.base import FrameSource
from realtime.structures import Frame

SIZE_WH = (320, 240)
SIDE_PX = 60
STEP_PX = 8
INPUT_WH = (160, 120)
"""A quarter of the frame's pixels: the model's boxes are exact to two pixels."""


def square_at(index: int) -> tuple[int, int, int, int]:
    """Where the square is in a frame, xyxy px: it goes to and fro."""
    room = SIZE_WH[0] - SIDE_PX
    place = index * STEP_PX % (2 * room)
    x = room - abs(place - room)
    return x, 80, x + SIDE_PX, 80 + SIDE_PX


class SquareSource(FrameSource):
    """Frames at a steady rate until it is interrupted; ``held`` stops the square where it is."""

    is_live = True
    time_base = Fraction(1, 90_000)
    size_wh = SIZE_WH

    def __init__(self, rate: int = 20, ground: int = 40) -> None:
        self.frame_rate = Fraction(rate)
        self.held = False
        self.silent = threading.Event()
        self._ground = ground
        self._ended = threading.Event()
        self._index = self._place = 0
        self._began_s = time.monotonic()

    def read(self) -> Frame | None:
        due_s = self._began_s + self._index / float(self.frame_rate)
        if self._ended.wait(max(0.0, due_s - time.monotonic())):
            return None
        while self.silent.is_set():
            if self._ended.wait(0.01):
                return None
        image = np.full((SIZE_WH[1], SIZE_WH[0], 3), self._ground, np.uint8)
        x1, y1, x2, y2 = square_at(self._place)
        image[y1:y2, x1:x2] = 255
        image.flags.writeable = False
        now_s = time.monotonic()
        frame = Frame(image, self._index, now_s - self._began_s, now_s)
        self._index += 1
        self._place += not self.held
        return frame

    def interrupt(self) -> None:
        self._ended.set()

    def close(self) -> None:
        self._ended.set()


def square_model(path: Path) -> Path:
    """An ONNX file whose class ``face`` is whatever is bright, and ``eye`` its upper left quarter at a low score."""
    width, height = INPUT_WH
    contract = metadata(input_wh=INPUT_WH, max_detections=4, threshold=0.5, min_score=0.05)
    nodes = [
        helper.make_node("Cast", ["image"], ["value"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["value", "channel"], ["grey"], keepdims=0),
        helper.make_node("Greater", ["grey", "bright"], ["is_bright"]),
        helper.make_node("Cast", ["is_bright"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["mask", "rows"], ["in_column"], keepdims=0),
        helper.make_node("ReduceMax", ["mask", "columns"], ["in_row"], keepdims=0),
        helper.make_node("ReduceMax", ["in_column"], ["any_2d"], keepdims=1),
        helper.make_node("Reshape", ["any_2d", "single"], ["any"]),
        *_ends("in_column", "x"),
        *_ends("in_row", "y"),
        helper.make_node("Add", ["x_low", "x_high"], ["x_sum"]),
        helper.make_node("Mul", ["x_sum", "half"], ["x_middle"]),
        helper.make_node("Add", ["y_low", "y_high"], ["y_sum"]),
        helper.make_node("Mul", ["y_sum", "half"], ["y_middle"]),
        helper.make_node("Concat", ["x_low", "y_low", "x_high", "y_high"], ["face"], axis=0),
        helper.make_node("Concat", ["x_low", "y_low", "x_middle", "y_middle"], ["eye"], axis=0),
        helper.make_node("Concat", ["face", "eye", "zeros"], ["all"], axis=0),
        helper.make_node("Reshape", ["all", "shape"], ["boxes"]),
        helper.make_node("Mul", ["score", "any"], ["scores"]),
        helper.make_node("Identity", ["label"], ["labels"]),
    ]
    floats = {
        "bright": 160.0, "half": 0.5, "zeros": np.zeros(8), "score": [0.9, 0.3, 0, 0], "one": [1.0], "far": 1e4,
        "x_places": np.arange(width), "y_places": np.arange(height),
    }  # fmt: skip
    integers = {"channel": [3], "rows": [1], "columns": [2], "shape": [4, 4], "single": [1], "label": [0, 1, 0, 0]}
    constants = [_constant(name, value, np.float32) for name, value in floats.items()]
    constants += [_constant(name, value, np.int64) for name, value in integers.items()]
    graph = helper.make_graph(
        nodes,
        "square",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [4, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [4]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, [4]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, contract.to_props())
    onnx.save(model, path)
    return path


def _ends(mask: str, axis: str) -> list[onnx.NodeProto]:
    """Nodes that give the first place of a mask (1,size) and the one after its last, each (1,)."""
    return [
        helper.make_node("Sub", ["one", mask], [f"{axis}_off"]),
        helper.make_node("Mul", [f"{axis}_off", "far"], [f"{axis}_away"]),
        helper.make_node("Add", [f"{axis}_places", f"{axis}_away"], [f"{axis}_up"]),
        helper.make_node("ReduceMin", [f"{axis}_up"], [f"{axis}_low_2d"], keepdims=1),
        helper.make_node("Sub", [f"{axis}_places", f"{axis}_away"], [f"{axis}_down"]),
        helper.make_node("ReduceMax", [f"{axis}_down"], [f"{axis}_last_2d"], keepdims=1),
        helper.make_node("Reshape", [f"{axis}_low_2d", "single"], [f"{axis}_low"]),
        helper.make_node("Reshape", [f"{axis}_last_2d", "single"], [f"{axis}_last"]),
        helper.make_node("Add", [f"{axis}_last", "one"], [f"{axis}_high"]),
    ]


def _constant(name: str, value: object, dtype: type) -> onnx.TensorProto:
    array = np.asarray(value, dtype)
    kind = TensorProto.FLOAT if dtype is np.float32 else TensorProto.INT64
    return helper.make_tensor(name, kind, array.shape, array.flatten())
