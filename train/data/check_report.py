"""What ``train check`` has found."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

PERCENTILES = (5, 50, 95)
Percentiles = tuple[float, ...]
"""Values at ``PERCENTILES``; empty if there is nothing to measure."""


class Kind(StrEnum):
    """Kinds of problems, in the order of the report."""

    DATA = "data set"
    IMAGE = "unreadable image"
    LABEL = "malformed label"
    LEAK = "image in two splits"
    NEAR_DUPLICATE = "near-duplicates in two splits"
    LISTED_TWICE = "image listed twice"
    DUPLICATE_IMAGE = "duplicate image"
    DUPLICATE_LABEL = "duplicate label"
    SHARED_LABELS = "label file of several images"
    CLIPPED_BOX = "box beyond the border"
    TINY_BOX = "box too small to learn"
    UNLABELLED_CLASS = "class never labelled"
    NO_IMAGE = "label file without image"
    LABELS_ELSEWHERE = "labels in another place"
    TEST_SPLIT = "test split"


ERRORS = frozenset({Kind.DATA, Kind.IMAGE, Kind.LABEL, Kind.LEAK})
"""Kinds that stop a training or make its metrics meaningless; the others are warnings."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    kind: Kind
    message: str
    """One line; it begins with the file, and the line if it is about one."""


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """The boxes of one class in one split."""

    name: str
    boxes: int
    images: int
    """Images with at least one box of the class."""
    width_px: Percentiles
    height_px: Percentiles
    input_width_px: Percentiles
    """Width in pixels of the network's input; empty if no input size is given."""
    input_height_px: Percentiles


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """What one split holds; an image that it lists twice counts once."""

    name: str
    images: int
    listed: int
    """Images, those listed twice counted twice: what an epoch shows."""
    unreadable: int
    empty_label_file: int
    no_label_file: int
    classes: tuple[ClassSummary, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What is in a data set, and what is wrong with it."""

    data: Path
    size: int | None
    """Side of the network's input in pixels that the sizes of boxes are given for as well."""
    splits: tuple[SplitSummary, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> int:
        """How many problems are errors, not warnings."""
        return sum(problem.kind in ERRORS for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, all problems included."""
        return {
            "data": str(self.data),
            "size": self.size,
            "errors": self.errors,
            "warnings": len(self.problems) - self.errors,
            "percentiles": PERCENTILES,
            "splits": [asdict(split) for split in self.splits],
            "problems": [
                {"level": level_of(p.kind), "kind": p.kind.value, "message": p.message} for p in self.problems
            ],
        }


def summarise_class(name: str, *, images: int, sides_px: np.ndarray, input_sides_px: np.ndarray | None) -> ClassSummary:
    """Summarise the boxes of a class from their widths and heights (N,2), in pixels of the images and of the input."""
    width, height = _percentiles(sides_px)
    input_width, input_height = ((), ()) if input_sides_px is None else _percentiles(input_sides_px)
    return ClassSummary(name, len(sides_px), images, width, height, input_width, input_height)


def _percentiles(sides: np.ndarray) -> tuple[Percentiles, Percentiles]:
    """Of widths and of heights."""
    if not len(sides):
        return (), ()
    values = np.percentile(sides, PERCENTILES, axis=0).round(1)  # (3,2)
    return tuple(values[:, 0].tolist()), tuple(values[:, 1].tolist())


def level_of(kind: Kind) -> str:
    """``error`` or ``warning``."""
    return "error" if kind in ERRORS else "warning"
