"""Label files: one for each image, a line ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 …`` for each object.

Coordinates are fractions of the image's width and height. The format is that of Ultralytics. A box may be followed by
key points, which are not used; ``train.data.key_points`` says how they are told from polygons.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data.key_points import (
    BOX_NUMBERS,
    OUTSIDE_TOLERANCE,
    KeyPointShape,
    Resemblance,
    key_points_of,
    lines_like_key_points,
)
from train.data.problems import OnProblem, raise_problem
from train.data.text_files import read_text
from train.errors import TrainError


@dataclass(frozen=True, slots=True)
class Label:
    """One line of a label file."""

    line: int
    class_id: int
    """Zero-based."""
    box: tuple[float, float, float, float]
    """xyxy as fractions of width and height, as written: it may reach ``OUTSIDE_TOLERANCE`` outside 0..1."""
    numbers: int = BOX_NUMBERS
    """How many the line has."""
    key_points: Resemblance | None = None
    """Of a line that was read as a polygon: the key points that it may hold."""


def read_labels(path: Path, num_classes: int, key_points: KeyPointShape | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read one label file, as ``read_label_files`` does."""
    return read_label_files([path], num_classes, key_points)[0]


def read_label_files(
    paths: Sequence[Path], num_classes: int, key_points: KeyPointShape | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the label files of a split.

    Args:
        paths: the files.
        num_classes: number of classes.
        key_points: ``kpt_shape`` of the data set; None if it has none.

    Returns:
        For each file boxes (N,4) float32, xyxy fractions clipped to 0..1, and zero-based class ids (N,) int64; both
        empty if the file is empty or missing.

    Raises:
        TrainError: a line is malformed, or the lines may be key points; the message names file and line.
    """
    read = [(path, read_label_lines(path, num_classes, raise_problem, key_points)) for path in paths]
    refuse_key_points(read)
    return [_as_arrays(labels) for _, labels in read]


def read_label_lines(
    path: Path, num_classes: int, on_problem: OnProblem = raise_problem, key_points: KeyPointShape | None = None
) -> list[Label]:
    """The labels of a file that is well-formed, empty or missing; malformed lines go to ``on_problem``."""
    try:
        lines = read_text(path).splitlines()
    except TrainError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            on_problem(error)
        return []
    labels = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                labels.append(_parse_line(number, line, num_classes, key_points))
            except ValueError as error:
                on_problem(TrainError(f"{path}:{number}: {error}"))
    return labels


def refuse_key_points(files: Iterable[tuple[Path, list[Label]]], on_problem: OnProblem = raise_problem) -> None:
    """Report the lines of a split that were read as polygons and are rather key points."""
    long = [(path, label) for path, labels in files for label in labels if label.numbers > BOX_NUMBERS]
    for i in lines_like_key_points([(label.numbers, label.key_points) for _, label in long]):
        path, label = long[i]
        assert label.key_points
        shape = label.key_points.shape
        found = f"{label.numbers} numbers may be a box with {shape.count} key points, or a polygon"
        remedy = f"say which in data.yaml: 'kpt_shape: {shape}' for key points, 'kpt_shape: null' for polygons"
        on_problem(TrainError(f"{path}:{label.line}: {found}; {remedy}"))


def parse_label(
    line: str, num_classes: int, key_points: KeyPointShape | None = None
) -> tuple[int, tuple[float, float, float, float]]:
    """Parse one label line to a class id and a box xyxy in fractions, up to ``OUTSIDE_TOLERANCE`` outside 0..1.

    Raises:
        ValueError: what was expected and what was found, without file and line.
    """
    label = _parse_line(0, line, num_classes, key_points)
    return label.class_id, label.box


def _parse_line(number: int, line: str, num_classes: int, key_points: KeyPointShape | None) -> Label:
    fields = line.split()
    _check_length(len(fields), key_points)
    numbers = _finite_numbers(fields)
    class_id, values = int(numbers[0]), numbers[1:]
    if class_id != numbers[0] or not 0 <= class_id < num_classes:
        raise ValueError(f"class id {fields[0]} is not in 'names' (0 to {num_classes - 1})")
    resembled: Resemblance | None = None
    if len(fields) == BOX_NUMBERS or (key_points and key_points.count):
        cx, cy, w, h = values[:4]
        box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    else:
        resembled = None if key_points else key_points_of(values)
        box = (min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2]))
    _check_box(box, resembled)
    return Label(number, class_id, box, len(fields), resembled)


def _check_length(count: int, key_points: KeyPointShape | None) -> None:
    if count == BOX_NUMBERS:
        return
    if key_points and key_points.count:
        if count != key_points.numbers:
            raise ValueError(
                f"expected 'class cx cy w h' (5 numbers), or {key_points.numbers} with the key points of "
                f"'kpt_shape: {key_points}', found {count} numbers"
            )
    elif count < BOX_NUMBERS + 2 or count % 2 == 0:
        points, rest = divmod(count - BOX_NUMBERS, 3)
        shape = KeyPointShape(points, 3) if points > 0 and not rest and key_points is None else None
        raise ValueError(
            "expected 'class cx cy w h' (5 numbers) or a polygon (class + 3 or more points), "
            f"found {count} numbers{_remedy(shape)}"
        )


def _finite_numbers(fields: list[str]) -> list[float]:
    found = " ".join(fields)[:60]
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        raise ValueError(f"expected numbers, found '{found}'") from None
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"expected finite numbers, found '{found}'")
    return numbers


def _check_box(box: tuple[float, float, float, float], resembled: Resemblance | None) -> None:
    remedy = _remedy(resembled.shape if resembled else None)
    if min(box) < -OUTSIDE_TOLERANCE or max(box) > 1 + OUTSIDE_TOLERANCE:
        corners = " ".join(f"{v:.4f}" for v in box)
        raise ValueError(f"box reaches outside the image: x1 y1 x2 y2 = {corners}{remedy}")
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in box)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"box has no area: width and height must be above 0{remedy}")


def _remedy(shape: KeyPointShape | None) -> str:
    """The end of the message about a line that may hold key points."""
    return f". If it is a box with key points, add 'kpt_shape: {shape}' to data.yaml" if shape else ""


def _as_arrays(labels: list[Label]) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray([label.box for label in labels], np.float32).reshape(-1, 4)
    return boxes.clip(0, 1), np.asarray([label.class_id for label in labels], np.int64)
