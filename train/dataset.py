"""YOLO-format data sets: ``data.yaml``, image folders or lists, one label file for each image.

The format is that of Ultralytics: a label file holds lines ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 …`` with
coordinates as fractions of the image's width and height.
"""

import math
from collections.abc import Iterator
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


def load_data_config(path: Path) -> DataConfig:
    """Read and check a ``data.yaml``.

    ``path`` inside it (optional) is the root of the splits, relative to the file's folder. ``names`` is a list or a
    mapping from id to name.

    Raises:
        TrainError: the file cannot be read, or a key is missing or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"cannot read {path}: {_reason(error)}") from error
    except yaml.YAMLError as error:
        raise TrainError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise TrainError(f"{path}: expected a mapping with 'names', 'train' and 'val', found {_kind(content)}")
    for key in ("names", "train", "val"):
        if content.get(key) is None:
            raise TrainError(f"{path}: key '{key}' is missing. A data set needs 'names', 'train' and 'val'")
    class_names = _class_names(content["names"], path)
    if "nc" in content and content["nc"] != len(class_names):
        raise TrainError(f"{path}: 'nc' is {content['nc']}, but 'names' has {len(class_names)} entries")
    root = path.parent / str(content.get("path") or "")
    splits = {split: _split_paths(content[split], split, root, path) for split in SPLITS if content.get(split)}
    return DataConfig(path, class_names, splits)


def load_split(config: DataConfig, split: str) -> list[LabelledImage]:
    """Read all labels of one split, in a stable order. An empty or missing label file is an image without objects.

    Raises:
        TrainError: no such split, no images in it, or a malformed label line (named by file and line).
    """
    if split not in config.splits:
        raise TrainError(f"{config.path}: there is no split '{split}', only {', '.join(config.splits)}")
    images = [
        LabelledImage(image, *read_labels(label_path(image), len(config.class_names)))
        for source in config.splits[split]
        for image in images_of(source)
    ]
    if not images:
        where = ", ".join(str(p) for p in config.splits[split])
        raise TrainError(f"{config.path}: split '{split}' has no images. Looked in: {where}")
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
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"cannot read {path}: {_reason(error)}") from error
    boxes, classes = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                class_id, box = parse_label(line, num_classes)
            except ValueError as error:
                raise TrainError(f"{path}:{number}: {error}") from error
            boxes.append(box)
            classes.append(class_id)
    return np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(classes, np.int64)


def parse_label(line: str, num_classes: int) -> tuple[int, tuple[float, float, float, float]]:
    """Parse one label line to a class id and a box xyxy in fractions, clipped to 0..1.

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
    return class_id, (x1, y1, x2, y2)


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


def images_of(source: Path) -> Iterator[Path]:
    """Image files of a folder and those below it, sorted, or those that a .txt list names.

    Raises:
        TrainError: the list cannot be read, or names an image that does not exist.
    """
    if source.is_dir():
        yield from (p for p in sorted(source.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES)
        return
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"cannot read {source}: {_reason(error)}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            image = source.parent / line.strip()
            if not image.is_file():
                raise TrainError(f"{source}:{number}: image {image} not found")
            yield image


def _class_names(names: Any, path: Path) -> tuple[str, ...]:
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


def _split_paths(value: Any, split: str, root: Path, path: Path) -> tuple[Path, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str) for v in values):
        raise TrainError(f"{path}: '{split}' must be a folder, a .txt list, or a list of these, found {_kind(value)}")
    paths = tuple(root / v for v in values)
    for p in paths:
        if not p.is_dir() and not (p.suffix == ".txt" and p.is_file()):
            raise TrainError(f"{path}: '{split}' names {p}, which is neither a folder of images nor a .txt list")
    return paths


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not a UTF-8 text file"


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
