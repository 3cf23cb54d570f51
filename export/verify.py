"""Verification that an ONNX file computes what the torchvision model does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torchvision.models.detection import FasterRCNN
from torchvision.ops import box_iou

from export.errors import ExportError
from export.static import StaticFasterRCNN
from realtime.letterbox import PADDING_VALUE, Letterbox
from realtime.metadata import INPUT_NAME, OUTPUT_NAMES
from train.data.images import read_image
from train.models.finite import finite_outputs

MIN_SCORE = 0.05
"""Detections with lower scores are not compared."""
FORBIDDEN_OPS = frozenset({"If", "Loop", "Scan", "NonZero", "NonMaxSuppression", "Unique", "Compress"})
IMAGES = sorted((Path(__file__).parent / "images").glob("*.jpg"))
"""Photos of the package: a near and a far face, and two without a human face."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest allowed difference of a detection from that of the torchvision model, which computes in float32."""

    score: float
    box_px: float
    contested_iou: float | None = None
    """If given, a detection that only one of the two has is accepted where its IoU with a better one of its class,
    which both have, is at least this: rounding moves an IoU near the suppression threshold across it."""
    single_below: float = 0.0
    """Detections of lower scores may be found by one alone: rounding also moves proposals across the last place."""


EXACT = Tolerance(score=1e-3, box_px=0.1)
"""float32: the same sums in another order."""
FLOAT16_TOLERANCE = Tolerance(score=0.01, box_px=2.0, contested_iou=0.3, single_below=0.25)
"""float16 rounds every weight and activation to 11 bits. Measured with a trained ``nano`` of 256 px, 429 detections on
44 photos: scores differ by 7e-4 (95 in 100) and at most by 3e-3, boxes by 0.014 px (95 in 100) and, where other
boxes had a vote, by up to 0.73 px; one more detection was kept."""
STEEPNESS = 3
"""How many times larger differences of scores may be once they are calibrated."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Largest differences between an ONNX file and its torchvision model."""

    images: int = 0
    detections: int = 0
    score: float = 0.0
    box_px: float = 0.0
    contested: int = 0
    """Detections that only one of the two has, of low scores or near the suppression threshold."""

    def __add__(self, other: "Differences") -> "Differences":
        return Differences(
            self.images + other.images,
            self.detections + other.detections,
            max(self.score, other.score),
            max(self.box_px, other.box_px),
            self.contested + other.contested,
        )

    def __str__(self) -> str:
        contested = f"; {self.contested} more kept by only one of the two" if self.contested else ""
        return (
            f"{self.detections} detections on {self.images} images, "
            f"largest difference {self.score:.1e} in score and {self.box_px:.1e} px in boxes{contested}"
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


def compare(
    onnx_path: Path,
    model: FasterRCNN | StaticFasterRCNN,
    images: Sequence[Path],
    class_names: Sequence[str],
    tolerance: Tolerance = EXACT,
) -> Differences:
    """Run both on letterboxed photos and compare every detection above score 0.05.

    A graph for several images gets as many photos in one run; a last, incomplete batch is filled up with grey.

    Raises:
        ExportError: a detection is missing, or differs by more than ``tolerance`` in score or in a coordinate.
    """
    session = ort.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    batch, height, width, _ = session.get_inputs()[0].shape
    total = Differences()
    for start in range(0, len(images), batch):
        paths = images[start : start + batch]
        inputs = np.concatenate([network_input(path, (width, height)) for path in paths])
        for path, bgr, found in zip(paths, inputs, run_batch(session, inputs), strict=True):
            reference = reference_detections(model, bgr[None])
            total += compare_image(reference, found, path.name, class_names, tolerance)
    return total


def run_batch(session: ort.InferenceSession, inputs: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Boxes (D,4), scores (D,) and labels (D,) of each of some images uint8 (N,H,W,3), at most a batch of them."""
    batch = session.get_inputs()[0].shape[0]
    full = np.full((batch, *inputs.shape[1:]), PADDING_VALUE, np.uint8)
    full[: len(inputs)] = inputs
    outputs = session.run(list(OUTPUT_NAMES), {INPUT_NAME: full})
    of_images = [outputs] if batch == 1 else zip(*outputs, strict=True)
    return [tuple(found) for found in of_images][: len(inputs)]


def reference_detections(model: FasterRCNN | StaticFasterRCNN, bgr: np.ndarray) -> tuple[np.ndarray, ...]:
    """What the model detects in torch: boxes (N,4) float32 px, scores (N,) and zero-based labels (N,).

    Args:
        model: in evaluation mode.
        bgr: uint8 (1,H,W,3), as ``network_input`` gives it.

    Raises:
        DivergedModelError: the model's training diverged.
    """
    if isinstance(model, StaticFasterRCNN):
        with torch.inference_mode():
            boxes, scores, labels = model(torch.from_numpy(bgr))
            used = scores > 0
            if model.calibration:
                scores = model.calibration(scores, labels)
        return tuple(output[used].numpy() for output in (boxes, scores, labels))
    with torch.inference_mode(), finite_outputs(model):
        rgb = torch.from_numpy(bgr[0, ..., ::-1].copy()).permute(2, 0, 1).float() / 255
        found = {name: value.numpy() for name, value in model([rgb])[0].items()}
    return found["boxes"], found["scores"], found["labels"] - 1


def network_input(path: Path, size_wh: tuple[int, int]) -> np.ndarray:
    """A photo as input of the graph: uint8 (1,H,W,3), BGR, letterboxed."""
    rgb, _ = Letterbox(size_wh)(read_image(path))
    return np.ascontiguousarray(rgb[..., ::-1])


def compare_image(
    expected: tuple[np.ndarray, ...],
    found: tuple[np.ndarray, ...],
    name: str,
    class_names: Sequence[str],
    tolerance: Tolerance = EXACT,
) -> Differences:
    """Pair the detections of one image: boxes (N,4) px, scores (N,) and zero-based labels (N,) of both.

    Raises:
        ExportError: a detection of one has no partner in the other.
    """
    largest_score = largest_box = 0.0
    threshold = MIN_SCORE + tolerance.score  # closer to MIN_SCORE, a detection may be on either side of it
    if len(expected[1]) == len(found[1]):  # all rows are used: the last may be any of several with equal scores
        threshold = max(threshold, float(expected[1].min()) + tolerance.score)
    unpaired = found[1] > threshold - 2 * tolerance.score
    compared = np.flatnonzero(expected[1] > threshold)
    missing = []
    for row in compared:
        differences = np.abs(found[0] - expected[0][row]).max(axis=1)
        score_differences = np.abs(found[1] - expected[1][row])
        differences[~(unpaired & (found[2] == expected[2][row]) & (score_differences <= tolerance.score))] = np.inf
        best = int(differences.argmin())
        if differences[best] > tolerance.box_px:
            missing.append(row)
            continue
        unpaired[best] = False
        largest_box = max(largest_box, float(differences[best]))
        largest_score = max(largest_score, float(score_differences[best]))
    alone = np.flatnonzero(unpaired & (found[1] > threshold))
    paired = np.setdiff1d(compared, missing)
    common = tuple(values[paired] for values in expected)
    for rows, having, what in (
        (missing, expected, "is missing from the ONNX graph's results"),
        (alone, found, "is found only by the ONNX graph"),
    ):
        for row in rows:
            box, score, label = (values[row] for values in having)
            is_low = score < tolerance.single_below
            if not (is_low or _is_contested(box, score, label, common, tolerance.contested_iou)):
                raise _difference(name, class_names[label], score, box, what)
    return Differences(1, len(paired), largest_score, largest_box, len(missing) + len(alone))


def _is_contested(
    box: np.ndarray, score: float, label: int, common: tuple[np.ndarray, ...], min_iou: float | None
) -> bool:
    """Whether a detection overlaps a better one of its class that both results have."""
    boxes, scores, labels = common
    rivals = boxes[(labels == label) & (scores > score)]
    if min_iou is None or not len(rivals):
        return False
    return bool(box_iou(torch.from_numpy(box[None]), torch.from_numpy(rivals)).max() >= min_iou)


def _difference(image: str, label: str, score: float, box: np.ndarray, what: str) -> ExportError:
    return ExportError(
        f"{image}: '{label}' of score {score:.3f} at {box.round(1).tolist()} {what}. A model that is hardly trained "
        "has many equal scores, whose order is arbitrary: train it longer. Otherwise this is a bug of the export"
    )


def _is_fixed(value: onnx.ValueInfoProto) -> bool:
    shape = value.type.tensor_type.shape
    return value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in shape.dim)
