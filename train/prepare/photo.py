"""What the reader of each format returns: photos with boxes, problems, and notes on what was left out."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from realtime import file_tree
from train.data.images import is_image
from train.errors import TrainError

MAX_SHOWN = 20
"""Problems that one message lists; the others are counted."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a source."""

    path: Path
    name: str
    """Unique in its source: by default the path below the source's folder, without suffix."""
    boxes: np.ndarray
    """(N,4) float64, xyxy in pixels of the photo as ``read_image`` gives it; they may reach outside it."""
    classes: np.ndarray
    """(N,) int64, ids in the source's ``class_names``."""
    size_wh: tuple[int, int] | None = None
    """Size in pixels for which the boxes were made, if the source gives it."""


@dataclass(slots=True)
class Source:
    """The content of one source."""

    class_names: tuple[str, ...]
    photos: list[Photo] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """One line each: the file (and line), what was expected and what was found."""
    notes: list[str] = field(default_factory=list)
    """What was deliberately left out or kept: one phrase each, with its count."""


def photo_name(path: Path, folder: Path) -> str:
    """Path of a photo below its folder without the suffix: ``a/b.jpg`` is ``a/b``."""
    relative = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return relative.with_name(relative.stem).as_posix()


def read_negatives(folder: Path) -> list[Photo]:
    """All images below a folder as photos without objects, named ``negative/…``.

    Raises:
        TrainError: there is no such folder, or no image in it.
    """
    photos = [
        Photo(path, f"negative/{photo_name(path, folder)}", np.empty((0, 4)), np.empty(0, np.int64))
        for path in images_below(folder)
    ]
    if not photos:
        raise TrainError(f"{folder}: no images found. --negatives needs a folder of photos without any object")
    return photos


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files with one of the suffixes (lower case, with dot) in a folder and those below it, linked ones too, sorted.

    Raises:
        TrainError: there is no such folder.
    """
    return [path for path in _all_below(folder) if path.suffix.lower() in suffixes and path.is_file()]


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and the folders below it, sorted.

    Raises:
        TrainError: there is no such folder.
    """
    return [path for path in _all_below(folder) if is_image(path) and path.is_file()]


def _all_below(folder: Path) -> list[Path]:
    """What is in a folder and below it, hidden files and those that systems leave behind left out."""
    if not folder.is_dir():
        raise TrainError(f"cannot read {folder}: no such folder")
    return file_tree.files_below(folder)


def images_by_stem(folder: Path) -> dict[Path, list[Path]]:
    """The images below a folder, by their path without suffix: mostly one each.

    Raises:
        TrainError: there is no such folder.
    """
    images: dict[Path, list[Path]] = {}
    for path in images_below(folder):
        images.setdefault(path.with_name(path.stem), []).append(path)
    return images


def content_hash(image: np.ndarray) -> str:
    """Hash of the pixels of an image uint8 (H,W,3): equal for equal pixels in another file or format."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def listed(problems: list[str]) -> str:
    """Problems, one a line, at most ``MAX_SHOWN`` and the number of the others."""
    more = [f"… and {len(problems) - MAX_SHOWN} more"] if len(problems) > MAX_SHOWN else []
    return "".join(f"\n  {line}" for line in [*problems[:MAX_SHOWN], *more])
