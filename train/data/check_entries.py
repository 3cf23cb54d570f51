"""What ``train check`` knows of each image."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from train.data.check_report import Problem
from train.data.images import ListedImage
from train.data.labels import Label


@dataclass(frozen=True, slots=True)
class Entry:
    """An image of a split, and the file that it is once links are followed."""

    split: str
    image: ListedImage
    file: Path


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one image file and its label file hold."""

    problems: list[Problem]
    label_file: str
    """``labelled``, ``empty`` or ``missing``."""
    long_labels: list[Label]
    """Lines that are longer than a box."""
    digest: bytes | None = None
    """Of the decoded pixels; None if the image cannot be read, which leaves the arrays empty."""
    contrast: np.ndarray = field(default_factory=lambda: np.empty(0, np.float16))
    """As ``local_contrast`` gives it, to find near-duplicates."""
    classes: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(N,) int64, zero-based."""
    sides_px: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    """(N,2) float64: width and height of each box, clipped to the image, in its pixels."""
    input_scale: float = 1.0
    """Pixels of the network's input for one of the image; 1 if no input size is given."""
