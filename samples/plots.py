"""Makes plots of README and docs/training.md, in ``docs/images``: a shipped detector on the val images of a data set.

pip install 'facial-feature-rcnn[train]' && python samples/plots.py data.yaml
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from realtime.image_io import read_image
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from train.data.data_yaml import DataConfig
from train.data.dataset import boxes_in_pixels, load_split
from train.evaluation.matching import Boxes
from train.evaluation.metrics import evaluate_boxes
from train.evaluation.plots import plot_evaluation

OUT = Path(__file__).parents[1] / "docs" / "images"
SHOWN = ("precision_recall.png", "f1_confidence.png", "reliability.png")


def main(data: Path, model: str = "mobile") -> None:
    """Detect in all val images, compare, and draw."""
    detector = OnnxDetector(find_model(model), provider=Provider.CPU)
    names, threshold = detector.metadata.class_names, detector.metadata.threshold
    images = load_split(DataConfig(data, names, {"val": (data.parent / "images" / "val",)}), "val")
    labelled, predicted = [], []
    for image in images:
        pixels = read_image(image.path)
        height, width = pixels.shape[:2]
        found = detector.detect(pixels)
        ones = np.ones(len(image.classes), np.float32)
        labelled.append(Boxes(boxes_in_pixels(image, width, height), image.classes + 1, ones))
        predicted.append(Boxes(found.boxes, found.labels + 1, found.scores))
    metrics = evaluate_boxes(labelled, predicted, names, threshold)
    with tempfile.TemporaryDirectory() as folder:
        plot_evaluation(metrics, Path(folder))
        for name in SHOWN:
            shutil.copy(Path(folder) / name, OUT / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
