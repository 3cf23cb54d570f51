"""Proof that an ONNX file scores on labelled images as its checkpoint did."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from export.errors import ExportError
from realtime.errors import ModelError
from realtime.metadata import INPUT_NAME, OUTPUT_NAMES, ModelMetadata
from train.dataset import DataConfig, LabelledImage, boxes_in_pixels, load_split, read_image
from train.matching import Boxes
from train.metrics import Metrics, evaluate_boxes
from train.transforms import letterbox, transform_boxes

MAX_MAP_DIFFERENCE = 0.002


def score_onnx(path: Path, data: DataConfig, split: str) -> tuple[Metrics, ModelMetadata]:
    """Run an ONNX file on a split, letterboxed as the app does, at its own default threshold.

    Raises:
        ExportError: the file is none that the app can run, or was made for other classes.
        TrainError: the split is missing or malformed.
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
    if metadata.class_names != data.class_names:
        raise ExportError(
            f"{path} finds {', '.join(metadata.class_names)}, but {data.path} names {', '.join(data.class_names)}"
        )
    pairs = [_score_image(session, image, metadata.input_wh) for image in load_split(data, split)]
    labelled, found = zip(*pairs, strict=True)
    return evaluate_boxes(list(labelled), list(found), data.class_names, metadata.threshold), metadata


def compare_with_checkpoint(found: Metrics, metadata: ModelMetadata) -> str:
    """Compare mAP with that of the checkpoint, which stands in the metadata; one line that says what was found.

    Raises:
        ExportError: they differ by more than 0.002, or cannot be compared.
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
    if max(map(abs, differences.values())) > MAX_MAP_DIFFERENCE:
        raise ExportError(
            f"against its checkpoint: {text}; at most {MAX_MAP_DIFFERENCE} is allowed. Is this the validation data of "
            f"its training ({training['data']})? Otherwise this is a bug of the export"
        )
    return f"against its checkpoint: {text}"


def _score_image(session: ort.InferenceSession, image: LabelledImage, size_wh: tuple[int, int]) -> tuple[Boxes, Boxes]:
    rgb = read_image(image.path)
    boxed, matrix = letterbox(rgb, size_wh)
    boxes, scores, labels = session.run(list(OUTPUT_NAMES), {INPUT_NAME: np.ascontiguousarray(boxed[None, ..., ::-1])})
    truth = transform_boxes(boxes_in_pixels(image, rgb.shape[1], rgb.shape[0]), matrix)
    used = scores > 0
    return (
        Boxes(truth, image.classes + 1, np.ones(len(truth), np.float32)),
        Boxes(boxes[used], labels[used] + 1, scores[used]),
    )
