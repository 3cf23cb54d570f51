"""Data sets in YOLO format: the images of a split with their labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data.data_yaml import DataConfig
from train.data.images import ListedImage, images_of
from train.data.labels import label_path, read_labels
from train.data.problems import OnProblem, raise_problem
from train.errors import TrainError


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image file with its labels."""

    path: Path
    boxes: np.ndarray
    """(N,4) float32, xyxy as fractions of width and height, within 0..1."""
    classes: np.ndarray
    """(N,) int64, zero-based ids of the data set."""


def load_split(config: DataConfig, split: str) -> list[LabelledImage]:
    """Read all labels of one split, in a stable order. An empty or missing label file is an image without objects.

    Raises:
        TrainError: no such split, no images in it, or a malformed label line (named by file and line).
    """
    return [
        LabelledImage(image.path, *read_labels(label_path(image.path), len(config.class_names)))
        for image in split_images(config, split)
    ]


def split_images(config: DataConfig, split: str, on_problem: OnProblem = raise_problem) -> list[ListedImage]:
    """The images of one split, in a stable order; missing ones of a list go to ``on_problem``."""
    if split not in config.splits:
        raise TrainError(f"{config.path}: there is no split '{split}', only {', '.join(config.splits)}")
    images = [image for source in config.splits[split] for image in images_of(source, on_problem)]
    if not images:
        where = ", ".join(str(p) for p in config.splits[split])
        on_problem(TrainError(f"{config.path}: split '{split}' has no images. Looked in: {where}"))
    return images


def boxes_in_pixels(image: LabelledImage, width: int, height: int) -> np.ndarray:
    """Boxes (N,4) float32, xyxy in pixels of an image of ``width`` x ``height``."""
    return image.boxes * np.array([width, height, width, height], np.float32)
