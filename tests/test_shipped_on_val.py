"""The shipped detectors score on real photos, through the app's own command, what their model card says.

The photos are not part of the project. Where they are, ``FACIAL_FEATURES`` names their folder; by default it is looked
for beside the checkout. Elsewhere these tests are skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from realtime.inference.detector import find_model, shipped_models
from realtime.metadata import ModelMetadata
from train.data.data_yaml import DataConfig
from train.data.dataset import boxes_in_pixels, load_split
from train.evaluation.matching import Boxes
from train.evaluation.metrics import evaluate_boxes

ROOT = Path(__file__).parent.parent
PHOTOS = Path(os.environ.get("FACIAL_FEATURES", ROOT.parent / "shared" / "facial-features"))
MODELS = [find_model(name) for name in shipped_models()]
MAX_FALL = 0.01
"""How far a figure may lie below the card's."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not (PHOTOS / "images" / "val").is_dir(), reason=f"no photos in {PHOTOS}")
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_shipped_detector_scores_what_its_card_says(model, tmp_path):
    props = {prop.key: prop.value for prop in onnx.load(model).metadata_props}
    metadata = ModelMetadata.from_props(props, model.name)
    names = metadata.class_names
    images = load_split(DataConfig(PHOTOS / "data.yaml", names, {"val": (PHOTOS / "images" / "val",)}), "val")
    out = tmp_path / "found.jsonl"
    command = "from realtime.cli import run_cli; run_cli()"
    # Everything that a graph gives: mAP counts weak detections too.
    options = [
        "--model",
        model,
        "--provider",
        "cpu",
        "--threshold",
        "0",
        "--jsonl",
        out,
        "--reach",
        "near",
    ]
    paths = [image.path for image in images]
    subprocess.run([sys.executable, "-c", command, "image", *map(str, [*paths, *options])], check=True, timeout=1200)

    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(line["image"]).name for line in found] == [path.name for path in paths]
    labelled, predicted = [], []
    for image, line in zip(images, found, strict=True):
        height, width = cv2.imread(str(image.path)).shape[:2]
        ones = np.ones(len(image.classes), np.float32)
        labelled.append(Boxes(boxes_in_pixels(image, width, height), image.classes + 1, ones))
        rows = line["detections"]
        boxes = np.array([row["box"] for row in rows], np.float32).reshape(-1, 4)
        labels = np.array([names.index(row["label"]) + 1 for row in rows], np.int64)
        predicted.append(Boxes(boxes, labels, np.array([row["score"] for row in rows], np.float32)))
    metrics = evaluate_boxes(labelled, predicted, names, metadata.threshold)

    card = metadata.training["metrics"]
    assert metrics.mean_f1 >= card["mean_f1"] - MAX_FALL
    assert metrics.map50 >= card["map50"] - MAX_FALL
    assert metrics.map50_95 >= card["map50_95"] - MAX_FALL
    for ours, theirs in zip(metrics.classes, card["classes"], strict=True):
        assert ours.f1 >= theirs["f1"] - MAX_FALL, ours.name
