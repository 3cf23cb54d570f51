"""Scripted stand-ins for the pipeline's parts, and small files for the real ones."""

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
from onnx import TensorProto, helper

from realtime.letterbox import LetterboxTransform, ThreadLocalLetterbox
from realtime.metadata import ModelMetadata
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sources.base import FrameSource
from realtime.structures import Detections, Face, Frame

WAIT_S = 60.0
"""Bound of every wait in the tests; none is meant to be reached."""


def metadata(**changes: object) -> ModelMetadata:
    values: dict[str, object] = {
        "class_names": ("face", "eye"),
        "input_wh": (64, 64),
        "max_detections": 4,
        "threshold": 0.5,
        "min_score": 0.05,
        "architecture": "stub",
        "training": {},
    }
    return ModelMetadata(**(values | changes))  # type: ignore[arg-type]


def stub_model(
    path: Path,
    rows: Sequence[tuple[list[float], float, int]] = (([8, 16, 40, 48], 0.9, 0), ([12, 20, 20, 24], 0.6, 1)),
    contract: ModelMetadata | None = None,
    props: dict[str, str] | None = None,
) -> Path:
    """An ONNX file that keeps the contract and finds the same boxes (in input pixels) in every image.

    In batches, boxes are moved down by a quarter of the largest pixel of their image, so that no two are confused.
    """
    contract = contract or metadata()
    width, height = contract.input_wh
    boxes, scores, labels = (np.zeros((4, 4), np.float32), np.zeros(4, np.float32), np.zeros(4, np.int64))
    for i, (box, score, label) in enumerate(rows):
        boxes[i], scores[i], labels[i] = box, score, label
    # The input takes part in the graph, multiplied by nothing, so that it cannot be optimised away.
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "zero"], ["nothing"]),
        helper.make_node("Add", ["found", "nothing"], ["boxes"]),
        helper.make_node("Identity", ["s"], ["scores"]),
        helper.make_node("Identity", ["l"], ["labels"]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("found", TensorProto.FLOAT, boxes.shape, boxes.flatten()),
        helper.make_tensor("s", TensorProto.FLOAT, scores.shape, scores),
        helper.make_tensor("l", TensorProto.INT64, labels.shape, labels),
    ]
    batch, rows_shape = contract.batch, contract.rows_shape
    if batch > 1:
        down = np.array([0, 0.25, 0, 0.25], np.float32)
        nodes = [
            helper.make_node("ReduceMax", ["image", "pixels"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["float", "per image"], ["of each"]),
            helper.make_node("Mul", ["of each", "down"], ["moves"]),
            helper.make_node("Add", ["found", "moves"], ["boxes"]),
            helper.make_node("Expand", ["s", "rows"], ["scores"]),
            helper.make_node("Expand", ["l", "rows"], ["labels"]),
        ]
        constants += [
            helper.make_tensor("pixels", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("per image", TensorProto.INT64, [3], [batch, 1, 1]),
            helper.make_tensor("down", TensorProto.FLOAT, [4], down),
            helper.make_tensor("rows", TensorProto.INT64, [2], rows_shape),
        ]
    graph = helper.make_graph(
        nodes,
        "stub",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, height, width, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [*rows_shape, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, rows_shape),
            helper.make_tensor_value_info("labels", TensorProto.INT64, rows_shape),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, contract.to_props() if props is None else props)
    onnx.save(model, path)
    return path


def without_driver() -> bool:
    """Whether this machine has no NVIDIA driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False


class ScriptedSource(FrameSource):
    """Gives ``count`` frames of one grey level each, 5 * index; then ends, fails, or waits to be closed."""

    time_base = Fraction(1, 25)
    frame_rate = Fraction(25)

    def __init__(
        self,
        count: int = 10,
        *,
        is_live: bool = False,
        size_wh: tuple[int, int] = (64, 48),
        error: Exception | None = None,
        before_read: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.is_live = is_live
        self.size_wh = size_wh
        self.closed = 0
        self.reads = 0
        self._count = count
        self._error = error
        self._before_read = before_read

    def read(self) -> Frame | None:
        index = self.reads
        self._before_read(index)
        if index == self._count:
            if self._error is not None:
                raise self._error
            return None
        self.reads += 1
        image = np.full((self.size_wh[1], self.size_wh[0], 3), 5 * index % 256, np.uint8)
        image.flags.writeable = False
        return Frame(image, index, index / 25, time.monotonic())

    def close(self) -> None:
        self.closed += 1


class FakeDetector:
    """Finds one face in every image; ``on_infer`` may block or raise."""

    def __init__(
        self,
        on_infer: Callable[[], None] = lambda: None,
        *,
        concurrency: int = 1,
        class_names: tuple[str, ...] = ("face", "eye"),
        max_batch: int = 1,
    ) -> None:
        self.metadata = metadata(class_names=class_names, batch=max_batch)
        self.max_batch = max_batch
        self.concurrency = concurrency
        self.is_thread_safe = True
        self.tile_wh = self.metadata.input_wh
        self.wide = self.narrow = self.narrow_wh = None
        self._letterbox = ThreadLocalLetterbox((64, 64), 114, max_batch)
        self._on_infer = on_infer

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        return self._letterbox(image)

    def preprocess_batch(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[LetterboxTransform]]:
        return self._letterbox.batch(images)

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        return self.infer_batch(network_input, [transform])[0]

    def infer_batch(self, network_input: np.ndarray, transforms: Sequence[LetterboxTransform]) -> list[Detections]:
        self._on_infer()
        boxes = np.array([[4, 4, 30, 30], [5, 5, 9, 9]], np.float32)
        scores = np.array([0.9, 0.3], np.float32)
        return [Detections(boxes, np.array([0, 1]), scores, self.metadata.class_names) for _ in transforms]


class RecordingSink:
    """Keeps what it is given."""

    def __init__(
        self,
        *,
        needs_canvas: bool = False,
        is_slow: bool = False,
        on_write: Callable[[Frame], None] = lambda _: None,
        log: list[str] | None = None,
        name: str = "sink",
    ) -> None:
        self.needs_canvas = needs_canvas
        self.is_slow = is_slow
        self.frames: list[Frame] = []
        self.detections: list[Detections] = []
        self.faces: list[tuple[Face, ...]] = []
        self.canvases: list[np.ndarray] = []
        self.closings: list[Ending] = []
        self._on_write = on_write
        self._log = log if log is not None else []
        self._name = name

    def write(self, result: Result) -> None:
        self._on_write(result.frame)
        self.frames.append(result.frame)
        self.detections.append(result.detections)
        self.faces.append(result.faces)
        self.canvases.append(result.canvas)

    def close(self, ending: Ending) -> None:
        self.closings.append(ending)
        self._log.append(self._name)


def wait_until(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Let other threads run until something is so that nobody announces; AssertionError if it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)  # 0 would take the interpreter back before the other thread wakes up


def join_threads(name: str) -> None:
    """Wait for every thread of this name to end."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(WAIT_S)


def thread_names() -> set[str]:
    """Names of the threads that are alive."""
    return {thread.name for thread in threading.enumerate()}


class Gate:
    """Lets a thread of the code under test be held and released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def __call__(self, *_: object) -> None:
        self.entered.set()
        assert self._open.wait(WAIT_S), "nobody opened the gate"

    def open(self) -> None:
        self._open.set()


def make_video(
    path: Path,
    *,
    frames: int = 12,
    size_wh: tuple[int, int] = (64, 48),
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 1000),
    codec: str = "libx264",
    sound: str | None = None,
) -> Path:
    """A video whose frames have the grey level 20 * index, so that their order survives a lossy codec."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        stream.codec_context.time_base = time_base
        audio = container.add_stream(sound, rate=16_000, layout="mono") if sound else None
        for i in range(frames):
            image = np.full((size_wh[1], size_wh[0], 3), 20 * i % 256, np.uint8)
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts = pts[i] if pts else i * 40
            picture.time_base = time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if audio:
            tone = (8000 * np.sin(np.arange(640 * frames) * 0.17)).astype(np.int16)[None]
            samples = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            samples.sample_rate, samples.pts = 16_000, 0
            fifo = av.AudioFifo()
            fifo.write(samples)
            while (block := fifo.read(1024, partial=True)) is not None:
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def read_video(path: Path) -> list[tuple[float, np.ndarray]]:
    """Time in seconds and image (H,W,3) RGB of every frame."""
    with av.open(str(path)) as container:
        return [(float(f.time or 0), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
