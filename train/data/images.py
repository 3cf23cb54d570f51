"""Image files: finding them in folders and lists, and reading them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from realtime import image_io
from realtime.errors import SourceError
from realtime.file_tree import files_below
from realtime.image_io import SUFFIXES as IMAGE_SUFFIXES
from realtime.image_io import is_image
from train.data.data_yaml import located
from train.data.problems import OnProblem, raise_problem
from train.data.text_files import read_text
from train.errors import TrainError

__all__ = ["IMAGE_SUFFIXES", "ListedImage", "images_of", "is_image", "read_image"]


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a split, and what names it."""

    path: Path
    where: str
    """The folder that holds it, or ``list:line``."""


def images_of(source: Path, on_problem: OnProblem = raise_problem) -> Iterator[ListedImage]:
    """Image files of a folder and those below it (linked ones too), sorted, or the existing ones of a .txt list.

    Hidden files and those that systems leave behind, such as ``._a.jpg``, are left out.
    """
    if source.is_dir():
        images = (p for p in files_below(source) if is_image(p))
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


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray:
    """Read an image file as the app does, EXIF orientation applied.

    Returns:
        By default uint8 (H,W,3), RGB; ``flags`` are those of ``cv2.imread``.

    Raises:
        TrainError: the file is missing, not an image, cut short, or too large.
    """
    try:
        return image_io.read_image(path, flags)
    except SourceError as error:
        raise TrainError(str(error)) from error
