"""Label files: one for each image, a line ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 …`` for each object.

Coordinates are fractions of the image's width and height. The format is that of Ultralytics.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data.problems import OnProblem, raise_problem, read_error
from train.errors import TrainError

OUTSIDE_TOLERANCE = 0.01
"""How far, as a fraction of the side, a labelled box may reach outside the image before it counts as malformed."""


@dataclass(frozen=True, slots=True)
class Label:
    """One line of a label file."""

    line: int
    class_id: int
    """Zero-based."""
    box: tuple[float, float, float, float]
    """xyxy as fractions of width and height, as written: it may reach ``OUTSIDE_TOLERANCE`` outside 0..1."""


def label_path(image: Path) -> Path:
    """Where the labels of an image are: the last folder ``images`` becomes ``labels``, the suffix ``.txt``."""
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


def read_label_lines(path: Path, num_classes: int, on_problem: OnProblem = raise_problem) -> list[Label]:
    """The labels of a file that is well-formed, empty or missing; malformed lines go to ``on_problem``."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        on_problem(TrainError(f"cannot read {path}: {read_error(error)}"))
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
