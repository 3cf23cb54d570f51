"""Proof that an ONNX file does what the torchvision model does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torchvision.models.detection import FasterRCNN

from export.errors import ExportError
from train.dataset import read_image
from train.transforms import letterbox

MAX_SCORE_DIFFERENCE = 1e-3
MAX_BOX_DIFFERENCE_PX = 0.1
MIN_SCORE = 0.05
"""Detections below are not compared."""
FORBIDDEN_OPS = frozenset({"If", "Loop", "Scan", "NonZero", "NonMaxSuppression", "Unique", "Compress"})
IMAGES = sorted((Path(__file__).parent / "images").glob("*.jpg"))
"""Photos that come with the package: a face near and far, and two without a human face."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Largest differences between an ONNX file and its torchvision model."""

    images: int
    detections: int
    score: float
    box_px: float

    def __str__(self) -> str:
        return (
            f"{self.detections} detections on {self.images} images, "
            f"largest difference {self.score:.1e} in score and {self.box_px:.1e} px in boxes"
        )


def check_static(model: onnx.ModelProto) -> None:
    """Check that a graph has no control flow, no operator with data-dependent shapes, and no unknown dimension.

    Raises:
        ExportError: names what was found.
    """
    forbidden = sorted({node.op_type for node in model.graph.node} & FORBIDDEN_OPS)
    if forbidden:
        raise ExportError(f"the graph has operators of data-dependent shape or control flow: {', '.join(forbidden)}")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    known = {value.name: value for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]}
    names = [name for node in inferred.graph.node for name in node.output if name]
    dynamic = [name for name in names if name not in known or not _is_fixed(known[name])]
    if dynamic:
        raise ExportError(f"the graph has {len(dynamic)} values of unknown shape, the first is '{dynamic[0]}'")


def compare(onnx_path: Path, model: FasterRCNN, images: Sequence[Path], class_names: Sequence[str]) -> Differences:
    """Run both on letterboxed photos and compare every detection above score 0.05.

    Raises:
        ExportError: a detection is missing, or differs by more than 1e-3 in score or 0.1 px in a coordinate.
    """
    session = ort.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    _, height, width, _ = session.get_inputs()[0].shape
    totals = Differences(0, 0, 0.0, 0.0)
    for path in images:
        bgr = network_input(path, (width, height))
        with torch.inference_mode():
            rgb = torch.from_numpy(bgr[0, ..., ::-1].copy()).permute(2, 0, 1).float() / 255
            expected = {name: value.numpy() for name, value in model([rgb])[0].items()}
        boxes, scores, labels = session.run(["boxes", "scores", "labels"], {"image": bgr})
        reference = expected["boxes"], expected["scores"], expected["labels"] - 1
        count, score, box = _compare_image(reference, (boxes, scores, labels), path.name, class_names)
        totals = Differences(
            totals.images + 1, totals.detections + count, max(totals.score, score), max(totals.box_px, box)
        )
    return totals


def network_input(path: Path, size_wh: tuple[int, int]) -> np.ndarray:
    """A photo as the graph wants it: uint8 (1,H,W,3), BGR, letterboxed."""
    rgb, _ = letterbox(read_image(path), size_wh)
    return np.ascontiguousarray(rgb[None, ..., ::-1])


def _compare_image(
    expected: tuple[np.ndarray, ...], found: tuple[np.ndarray, ...], name: str, class_names: Sequence[str]
) -> tuple[int, float, float]:
    """Pair the detections of one image; return their number and the largest differences of score and box."""
    largest_score = largest_box = 0.0
    bar = MIN_SCORE + MAX_SCORE_DIFFERENCE  # nearer to the bar, a detection may lie on either side of it
    if len(expected[1]) == len(found[1]):  # all rows are used: the weakest may be any of several equals
        bar = max(bar, float(expected[1].min()) + MAX_SCORE_DIFFERENCE)
    unpaired = found[1] > bar - 2 * MAX_SCORE_DIFFERENCE
    compared = expected[1] > bar
    for box, score, label in zip(*(values[compared] for values in expected), strict=True):
        differences = np.abs(found[0] - box).max(axis=1)
        same = unpaired & (found[2] == label) & (np.abs(found[1] - score) <= MAX_SCORE_DIFFERENCE)
        differences[~same] = np.inf
        best = int(differences.argmin())
        if differences[best] > MAX_BOX_DIFFERENCE_PX:
            raise _difference(name, class_names[label], score, box, "is missing from the ONNX graph's results")
        unpaired[best] = False
        largest_box = max(largest_box, float(differences[best]))
        largest_score = max(largest_score, float(abs(found[1][best] - score)))
    for row in np.flatnonzero(unpaired & (found[1] > bar)):
        raise _difference(
            name, class_names[found[2][row]], found[1][row], found[0][row], "is found by the ONNX graph alone"
        )
    return int(compared.sum()), largest_score, largest_box


def _difference(image: str, label: str, score: float, box: np.ndarray, what: str) -> ExportError:
    return ExportError(
        f"{image}: '{label}' of score {score:.3f} at {box.round(1).tolist()} {what}. A model that is hardly trained "
        "has many equal scores, whose order is arbitrary: train it longer. Otherwise this is a bug of the export"
    )


def _is_fixed(value: onnx.ValueInfoProto) -> bool:
    shape = value.type.tensor_type.shape
    return value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in shape.dim)
