"""Proof that an ONNX file scores on labelled images as its checkpoint did."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from export.errors import ExportError
from realtime.errors import ModelError
from realtime.metadata import INPUT_NAME, OUTPUT_NAMES, ModelMetadata
from train.data.dataset import DataConfig, boxes_in_pixels, load_split, read_image
from train.data.transforms import letterbox, transform_boxes
from train.evaluation.matching import Boxes
from train.evaluation.metrics import Metrics, evaluate_boxes

MAX_MAP_DIFFERENCE = {"float32": 0.002, "float16": 0.003}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An ONNX file of this project, ready to run."""

    session: ort.InferenceSession
    metadata: ModelMetadata

    def compare(self, rgb: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> tuple[Boxes, Boxes]:
        """Run on one picture, letterboxed as the app does.

        Args:
            rgb: uint8 (H,W,3).
            boxes: (N,4) float32 xyxy, what is labelled in it, in its pixels.
            classes: (N,) int64, zero-based.

        Returns:
            What is labelled and what was found, both in pixels of the network's input.
        """
        boxed, matrix = letterbox(rgb, self.metadata.input_wh)
        feeds = {INPUT_NAME: np.ascontiguousarray(boxed[None, ..., ::-1])}
        found, scores, labels = self.session.run(list(OUTPUT_NAMES), feeds)
        truth, used = transform_boxes(boxes, matrix), scores > 0
        return (
            Boxes(truth, classes + 1, np.ones(len(truth), np.float32)),
            Boxes(found[used], labels[used] + 1, scores[used]),
        )


def load_onnx(path: Path, class_names: tuple[str, ...]) -> LoadedModel:
    """Load an ONNX file for the CPU.

    Raises:
        ExportError: the file is none that the app can run, or was made for other classes.
    """
    try:
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an error of its own for each way in which a file can be wrong
        raise ExportError(f"cannot load {path}: {str(error).splitlines()[0]}") from error
    try:
        metadata = ModelMetadata.from_props(session.get_modelmeta().custom_metadata_map, path.name)
        metadata.check_graph(session.get_inputs(), session.get_outputs(), path.name)
    except ModelError as error:
        raise ExportError(str(error)) from error
    if metadata.class_names != class_names:
        raise ExportError(f"{path} finds {', '.join(metadata.class_names)}, but the data has {', '.join(class_names)}")
    return LoadedModel(session, metadata)


def score_onnx(path: Path, data: DataConfig, split: str) -> tuple[Metrics, ModelMetadata]:
    """Run an ONNX file on a split at its own default threshold.

    Raises:
        ExportError: the file is none that the app can run, or was made for other classes.
        TrainError: the split is missing or malformed.
    """
    model = load_onnx(path, data.class_names)
    labelled, found = [], []
    for image in load_split(data, split):
        rgb = read_image(image.path)
        truth, detected = model.compare(rgb, boxes_in_pixels(image, rgb.shape[1], rgb.shape[0]), image.classes)
        labelled.append(truth)
        found.append(detected)
    return evaluate_boxes(labelled, found, data.class_names, model.metadata.threshold), model.metadata


def compare_with_checkpoint(found: Metrics, metadata: ModelMetadata) -> str:
    """Compare mAP with that of the checkpoint, which stands in the metadata; one line that says what was found.

    Raises:
        ExportError: they differ by more than 0.002 (half precision: 0.003), or cannot be compared.
    """
    training: dict[str, Any] = metadata.training
    expected = training.get("metrics")
    if not expected:
        raise ExportError("this model's metadata has no metrics to compare with: export best.pt of a run")
    width, height = metadata.input_wh
    trained = training["options"]["size"]
    if (width, height) != (trained, trained):
        return f"not compared with the checkpoint, which was scored at {trained}x{trained}"
    differences = {"mAP50": found.map50 - expected["map50"], "mAP50-95": found.map50_95 - expected["map50_95"]}
    text = ", ".join(f"{name} {difference:+.4f}" for name, difference in differences.items())
    allowed = MAX_MAP_DIFFERENCE[metadata.precision]
    if max(map(abs, differences.values())) > allowed:
        raise ExportError(
            f"against its checkpoint: {text}; at most {allowed} is allowed. Is this the validation data of "
            f"its training ({training['data']})? Otherwise this is a bug of the export"
        )
    return f"against its checkpoint: {text}"
