"""YOLO-format data sets: ``data.yaml``, image folders or lists, one label file for each image.

The format is that of Ultralytics: a label file holds lines ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 …`` with
coordinates as fractions of the image's width and height.

What is wrong goes to a function ``on_problem``: training stops at the first problem, ``train check`` collects them all.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from train.errors import TrainError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
SPLITS = ("train", "val", "test")
OUTSIDE_TOLERANCE = 0.01
"""How far, as a fraction of the side, a labelled box may reach outside the image before it counts as malformed."""

OnProblem = Callable[[TrainError], None]
"""Takes a problem that names its file and line; where it returns, reading goes on without what was wrong."""


def stop(problem: TrainError) -> None:
    """Raise the problem."""
    raise problem


@dataclass(frozen=True, slots=True)
class DataConfig:
    """A parsed ``data.yaml``."""

    path: Path
    class_names: tuple[str, ...]
    splits: dict[str, tuple[Path, ...]]
    """For each split its image folders and .txt lists."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image file with its labels."""

    path: Path
    boxes: np.ndarray
    """(N,4) float32, xyxy as fractions of width and height, within 0..1."""
    classes: np.ndarray
    """(N,) int64, zero-based ids of the data set."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a split, and what names it."""

    path: Path
    where: str
    """The folder that holds it, or ``list:line``."""


@dataclass(frozen=True, slots=True)
class Label:
    """One line of a label file."""

    line: int
    class_id: int
    """Zero-based."""
    box: tuple[float, float, float, float]
    """xyxy as fractions of width and height, as written: it may reach ``OUTSIDE_TOLERANCE`` outside 0..1."""


def load_data_config(path: Path, on_problem: OnProblem = stop) -> DataConfig:
    """Read and check a ``data.yaml``.

    ``path`` inside it (optional) is the root of the splits, relative to the file's folder. ``names`` is a list or a
    mapping from id to name. Wrong splits go to ``on_problem`` and are left out.

    Raises:
        TrainError: the file cannot be read, or 'names' is missing or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"cannot read {path}: {_reason(error)}") from error
    except yaml.YAMLError as error:
        raise TrainError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise TrainError(f"{path}: expected a mapping with 'names', 'train' and 'val', found {_kind(content)}")
    root = path.parent / str(content.get("path") or "")
    splits: dict[str, tuple[Path, ...]] = {}
    for split in SPLITS:
        if content.get(split):
            sources = tuple(_split_sources(content[split], split, root, path, on_problem))
            splits |= {split: sources} if sources else {}
        elif split != "test":
            on_problem(_missing(path, split))
    class_names = _class_names(content.get("names"), path)
    if "nc" in content and content["nc"] != len(class_names):
        raise TrainError(f"{path}: 'nc' is {content['nc']}, but 'names' has {len(class_names)} entries")
    return DataConfig(path, class_names, splits)


def load_split(config: DataConfig, split: str) -> list[LabelledImage]:
    """Read all labels of one split, in a stable order. An empty or missing label file is an image without objects.

    Raises:
        TrainError: no such split, no images in it, or a malformed label line (named by file and line).
    """
    return [
        LabelledImage(image.path, *read_labels(label_path(image.path), len(config.class_names)))
        for image in split_images(config, split)
    ]


def split_images(config: DataConfig, split: str, on_problem: OnProblem = stop) -> list[ListedImage]:
    """The images of one split, in a stable order; those of a list that are not there go to ``on_problem``."""
    if split not in config.splits:
        raise TrainError(f"{config.path}: there is no split '{split}', only {', '.join(config.splits)}")
    images = [image for source in config.splits[split] for image in images_of(source, on_problem)]
    if not images:
        where = ", ".join(str(p) for p in config.splits[split])
        on_problem(TrainError(f"{config.path}: split '{split}' has no images. Looked in: {where}"))
    return images


def label_path(image: Path) -> Path:
    """Where the labels of an image stand: the last folder ``images`` becomes ``labels``, the suffix ``.txt``."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_labels(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one label file.

    Returns:
        Boxes (N,4) float32, xyxy fractions clipped to 0..1, and zero-based class ids (N,) int64; both empty if the
        file is empty or missing.

    Raises:
        TrainError: a line is malformed; the message names file and line.
    """
    labels = read_label_lines(path, num_classes)
    boxes = np.asarray([label.box for label in labels], np.float32).reshape(-1, 4)
    return boxes.clip(0, 1), np.asarray([label.class_id for label in labels], np.int64)


def read_label_lines(path: Path, num_classes: int, on_problem: OnProblem = stop) -> list[Label]:
    """The labels of a file that is well-formed, empty or missing; malformed lines go to ``on_problem``."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        on_problem(TrainError(f"cannot read {path}: {_reason(error)}"))
        return []
    labels = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                labels.append(Label(number, *parse_label(line, num_classes)))
            except ValueError as error:
                on_problem(TrainError(f"{path}:{number}: {error}"))
    return labels


def parse_label(line: str, num_classes: int) -> tuple[int, tuple[float, float, float, float]]:
    """Parse one label line to a class id and a box xyxy in fractions, up to ``OUTSIDE_TOLERANCE`` outside 0..1.

    Raises:
        ValueError: what was expected and what was found, without file and line.
    """
    fields = line.split()
    if len(fields) != 5 and (len(fields) < 7 or len(fields) % 2 == 0):
        raise ValueError(
            "expected 'class cx cy w h' (5 numbers) or a polygon (class + 3 or more points), "
            f"found {len(fields)} numbers"
        )
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        raise ValueError(f"expected numbers, found '{line.strip()[:60]}'") from None
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"expected finite numbers, found '{line.strip()[:60]}'")
    class_id, values = int(numbers[0]), numbers[1:]
    if class_id != numbers[0] or not 0 <= class_id < num_classes:
        raise ValueError(f"class id {fields[0]} is not in 'names' (0 to {num_classes - 1})")
    if len(values) == 4:
        cx, cy, w, h = values
        box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    else:
        box = (min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2]))
    if min(box) < -OUTSIDE_TOLERANCE or max(box) > 1 + OUTSIDE_TOLERANCE:
        raise ValueError(f"box reaches outside the image: x1 y1 x2 y2 = {' '.join(f'{v:.4f}' for v in box)}")
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in box)
    if x2 <= x1 or y2 <= y1:
        raise ValueError("box has no area: width and height must be above 0")
    return class_id, box


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


def boxes_in_pixels(image: LabelledImage, width: int, height: int) -> np.ndarray:
    """Boxes (N,4) float32, xyxy in pixels of an image of ``width`` x ``height``."""
    return image.boxes * np.array([width, height, width, height], np.float32)


def images_of(source: Path, on_problem: OnProblem = stop) -> Iterator[ListedImage]:
    """Image files of a folder and those below it, sorted, or those that a .txt list names, if they are there."""
    if source.is_dir():
        images = (p for p in sorted(source.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES)
        yield from (ListedImage(image, str(source)) for image in images)
        return
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        on_problem(TrainError(f"cannot read {source}: {_reason(error)}"))
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            image, where = source.parent / line.strip(), f"{source}:{number}"
            if image.is_file():
                yield ListedImage(image, where)
            else:
                on_problem(TrainError(f"{where}: image {image} not found"))


def _missing(path: Path, key: str) -> TrainError:
    return TrainError(f"{path}: key '{key}' is missing. A data set needs 'names', 'train' and 'val'")


def _class_names(names: Any, path: Path) -> tuple[str, ...]:
    if names is None:
        raise _missing(path, "names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise TrainError(f"{path}: 'names' must map the ids 0 to {len(names) - 1}, found {list(names)[:10]}")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise TrainError(f"{path}: 'names' must be a list or a mapping of class names, found {_kind(names)}")
    if not all(isinstance(name, str | int) and str(name).strip() for name in names):
        raise TrainError(f"{path}: 'names' must hold non-empty class names, found {names[:10]}")
    stripped = tuple(str(name).strip() for name in names)
    if len(set(stripped)) != len(stripped):
        raise TrainError(f"{path}: 'names' holds a class name twice: {', '.join(stripped)}")
    return stripped


def _split_sources(value: Any, split: str, root: Path, path: Path, on_problem: OnProblem) -> Iterator[Path]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str) for v in values):
        expected = "must be a folder, a .txt list, or a list of these"
        on_problem(TrainError(f"{path}: '{split}' {expected}, found {_kind(value)}"))
        return
    for source in (root / v for v in values):
        if source.is_dir() or (source.suffix == ".txt" and source.is_file()):
            yield source
        else:
            what = "neither a folder of images nor a .txt list"
            on_problem(TrainError(f"{path}: '{split}' names {source}, which is {what}"))


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not a UTF-8 text file"


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
