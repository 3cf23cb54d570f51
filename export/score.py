"""Scoring an ONNX file with the app's own detector, to compare it with its checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError
from realtime.errors import ModelError
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.letterbox import LetterboxTransform
from realtime.metadata import ModelMetadata
from realtime.structures import Detections
from train.data.data_yaml import DataConfig
from train.data.dataset import LabelledImage, boxes_in_pixels, load_split
from train.data.geometry import transform_boxes
from train.data.images import read_image
from train.evaluation.matching import Boxes
from train.evaluation.metrics import Metrics, evaluate_boxes

MAX_MAP_DIFFERENCE = {"float32": 0.002, "float16": 0.003}
MAX_MAP_COST = 0.02
"""Of a short tail or a budget; more is rather the wrong data set."""


def open_detector(path: Path, class_names: tuple[str, ...]) -> OnnxDetector:
    """The app's detector of an ONNX file, on the CPU.

    Raises:
        ExportError: the app cannot run the file, or it was made for other classes.
    """
    try:
        detector = OnnxDetector(path, provider=Provider.CPU)
    except ModelError as error:
        raise ExportError(str(error)) from error
    found = detector.metadata.class_names
    if found != class_names:
        raise ExportError(f"{path} finds {', '.join(found)}, but the data has {', '.join(class_names)}")
    return detector


def score_onnx(path: Path, data: DataConfig, split: str) -> tuple[Metrics, ModelMetadata]:
    """Run the app's detector on a split, on the CPU, and score it at the model's own default threshold.

    Raises:
        ExportError: the app cannot run the file, or it was made for other classes.
        TrainError: the split is missing or malformed.
    """
    detector = open_detector(path, data.class_names)
    labelled: list[Boxes] = []
    found: list[Boxes] = []
    images = load_split(data, split)
    for start in range(0, len(images), detector.max_batch):
        for truth, detected in _score_batch(detector, images[start : start + detector.max_batch]):
            labelled.append(truth)
            found.append(detected)
    return evaluate_boxes(labelled, found, data.class_names, detector.metadata.threshold), detector.metadata


def _score_batch(detector: OnnxDetector, images: Sequence[LabelledImage]) -> list[tuple[Boxes, Boxes]]:
    """What is labelled and what is found in each image of a batch."""
    pixels = [read_image(image.path) for image in images]
    network_input, transforms = detector.preprocess_batch([np.ascontiguousarray(rgb[..., ::-1]) for rgb in pixels])
    found = detector.infer_batch(network_input, transforms)
    return [
        _in_input(boxes_in_pixels(image, *transform.frame_wh), image.classes, detections, transform)
        for image, detections, transform in zip(images, found, transforms, strict=True)
    ]


def labelled_and_found(
    detector: OnnxDetector, rgb: np.ndarray, boxes: np.ndarray, classes: np.ndarray
) -> tuple[Boxes, Boxes]:
    """What is labelled in an image and what the detector finds, both in pixels of the network's input.

    Args:
        detector: of the app.
        rgb: uint8 (H,W,3).
        boxes: (N,4) float32 xyxy, what is labelled in it, in its pixels.
        classes: (N,) int64, zero-based.
    """
    network_input, transform = detector.preprocess(np.ascontiguousarray(rgb[..., ::-1]))
    return _in_input(boxes, classes, detector.infer(network_input, transform), transform)


def _in_input(
    boxes: np.ndarray, classes: np.ndarray, found: Detections, transform: LetterboxTransform
) -> tuple[Boxes, Boxes]:
    """Labelled boxes (N,4) and detections of an image, from its pixels to those of the network's input."""
    return (
        Boxes(transform_boxes(boxes, transform.matrix), classes + 1, np.ones(len(boxes), np.float32)),
        Boxes(transform_boxes(found.boxes, transform.matrix), found.labels + 1, found.scores),
    )


def compare_with_checkpoint(found: Metrics, metadata: ModelMetadata) -> str:
    """Compare mAP with that of the checkpoint, which is in the metadata; returns one line with the differences.

    Raises:
        ExportError: they differ by more than 0.002 (half precision: 0.003; with a short tail or a budget: 0.02), or
            cannot be compared.
    """
    training: dict[str, Any] = metadata.training
    if not training.get("metrics"):
        raise ExportError("this model's metadata has no metrics to compare with: export best.pt of a run")
    differences = differences_to_checkpoint(found, metadata)
    if differences is None:
        trained = training["options"]["size"]
        return f"not compared with the checkpoint, which was scored at {trained}x{trained}"
    allowed = MAX_MAP_DIFFERENCE[metadata.precision] if metadata.is_exact else MAX_MAP_COST
    if max(abs(differences.map50), abs(differences.map50_95)) > allowed:
        raise ExportError(
            f"against its checkpoint: {differences}; at most {allowed} is allowed. Is this the validation data of "
            f"its training ({training['data']})? A shorter tail or a smaller budget may cost more; otherwise this is a "
            "bug of the export"
        )
    return f"against its checkpoint: {differences}"


@dataclass(frozen=True, slots=True)
class Gains:
    """Of a file against its checkpoint."""

    map50: float
    map50_95: float

    def __str__(self) -> str:
        return f"mAP50 {self.map50:+.4f}, mAP50-95 {self.map50_95:+.4f}"


def differences_to_checkpoint(found: Metrics, metadata: ModelMetadata) -> Gains | None:
    """What a file scores more than its checkpoint, which is in the metadata; None if that was not at this size."""
    expected = metadata.training.get("metrics")
    trained = (metadata.training.get("options") or {}).get("size")
    if not expected or metadata.input_wh != (trained, trained):
        return None
    return Gains(found.map50 - expected["map50"], found.map50_95 - expected["map50_95"])
