"""Image files: finding them in folders and lists, and reading them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from train.data.data_yaml import located
from train.data.folders import files_below
from train.data.problems import OnProblem, raise_problem
from train.data.text_files import read_text
from train.errors import TrainError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a split, and what names it."""

    path: Path
    where: str
    """The folder that holds it, or ``list:line``."""


def images_of(source: Path, on_problem: OnProblem = raise_problem) -> Iterator[ListedImage]:
    """Image files of a folder and those below it (linked ones too), sorted, or the existing ones of a .txt list."""
    if source.is_dir():
        images = (p for p in files_below(source) if p.suffix.lower() in IMAGE_SUFFIXES)
        yield from (ListedImage(image, str(source)) for image in images)
        return
    try:
        lines = read_text(source).splitlines()
    except TrainError as error:
        on_problem(error)
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            image, where = located(source.parent, line.strip()), f"{source}:{number}"
            if image.is_file():
                yield ListedImage(image, where)
            else:
                on_problem(TrainError(f"{where}: image {image} not found"))


def read_image(path: Path) -> np.ndarray:
    """Read an image file, EXIF orientation applied.

    Returns:
        uint8 (H,W,3), RGB.

    Raises:
        TrainError: the file is missing or no image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise TrainError(f"cannot read image {path}: " + ("not a readable image" if path.exists() else "not found"))
    return image
