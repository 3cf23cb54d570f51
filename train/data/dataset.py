"""Data sets in YOLO format: the images of a split with their labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data.data_yaml import DataConfig
from train.data.images import ListedImage, images_of
from train.data.label_places import label_path, shared_label_files
from train.data.labels import read_label_files
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
    config.sources(split)  # all of them are there
    images = split_images(config, split)
    labels = read_label_files([label_path(i.path) for i in images], len(config.class_names), config.key_points)
    return [LabelledImage(image.path, *found) for image, found in zip(images, labels, strict=True)]


def split_images(config: DataConfig, split: str, on_problem: OnProblem = raise_problem) -> list[ListedImage]:
    """The images of one split, in a stable order, from those of its sources that are there.

    Missing images of a list go to ``on_problem``, and a split without images.
    """
    images = [image for source in config.splits[split] for image in images_of(source, on_problem)]
    if not images:
        where = ", ".join(str(p) for p in config.splits[split])
        on_problem(TrainError(f"{config.path}: split '{split}' has no images. Looked in: {where}"))
    return images


def warn_of_shared_labels(images: Sequence[LabelledImage], warn: Callable[[str], None]) -> None:
    """Give ``warn`` one line if several images have one label file, which can only belong to one of them."""
    if shared := shared_label_files([image.path for image in images]):
        file, first, second = shared[0].file, *shared[0].images[:2]
        more = f" (and {len(shared) - 1} more such files; 'train check' lists them)" if len(shared) > 1 else ""
        warn(f"warning: {file} has the labels of {first} and of {second}, but can only belong to one of them{more}")


def boxes_in_pixels(image: LabelledImage, width: int, height: int) -> np.ndarray:
    """Boxes (N,4) float32, xyxy in pixels of an image of ``width`` x ``height``."""
    return image.boxes * np.array([width, height, width, height], np.float32)
