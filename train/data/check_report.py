"""What ``train check`` has found: as text for people, as plain values for programs."""

from collections.abc import Iterator
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
    LEAK = "picture in two splits"
    NEAR_DUPLICATE = "look-alikes in two splits"
    LISTED_TWICE = "image listed twice"
    DUPLICATE_IMAGE = "duplicate picture"
    DUPLICATE_LABEL = "duplicate label"
    CLIPPED_BOX = "box beyond the border"
    TINY_BOX = "box too small to learn"
    UNLABELLED_CLASS = "class never labelled"
    NO_IMAGE = "label file without image"


ERRORS = frozenset({Kind.DATA, Kind.IMAGE, Kind.LABEL, Kind.LEAK})
"""Kinds that stop a training, or make its scores say nothing; the others are warnings."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    kind: Kind
    message: str
    """One line; it begins with the file, and the line where one is to blame."""


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

    def text(self, size: int | None) -> str:
        """The summary as an aligned table, with columns for the network's input if its ``size`` is given."""
        listed = f" ({self.listed} listed)" if self.listed != self.images else ""
        unlabelled = f"{self.empty_label_file} with an empty label file, {self.no_label_file} without label file"
        head = f"{self.name}: {self.images} images{listed}, {unlabelled}, {self.unreadable} unreadable"
        columns = ["width px", "height px", *([f"width at {size}", f"height at {size}"] if size else [])]
        width = max(len("class"), *(len(c.name) for c in self.classes)) + 2
        lines = [f"{'class':<{width}}{'boxes':>8}{'images':>8}" + "".join(f"{c:>16}" for c in columns)]
        for c in self.classes:
            values = (c.width_px, c.height_px, c.input_width_px, c.input_height_px)[: len(columns)]
            cells = ("/".join(f"{v:.0f}" for v in value) or "-" for value in values)
            lines.append(f"{c.name:<{width}}{c.boxes:>8}{c.images:>8}" + "".join(f"{cell:>16}" for cell in cells))
        return "\n".join([head, *lines])


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

    def text(self, limit: int) -> str:
        """The report as lines, with up to ``limit`` problems of each kind."""
        parts = [split.text(self.size) for split in self.splits]
        if parts:
            parts.append("Sizes: 5/50/95 % of the boxes are this small or smaller.")
        parts += self._problem_texts(limit)
        parts.append(f"{self.data}: {self.errors} errors, {len(self.problems) - self.errors} warnings")
        return "\n\n".join(parts)

    def _problem_texts(self, limit: int) -> Iterator[str]:
        for kind in Kind:
            messages = [problem.message for problem in self.problems if problem.kind == kind]
            if messages:
                lines = [f"{_level(kind)}: {kind}: {len(messages)}", *(f"  {line}" for line in messages[:limit])]
                if len(messages) > limit:
                    lines.append(f"  … {len(messages) - limit} more; --limit shows more, --json writes all")
                yield "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, all problems included."""
        return {
            "data": str(self.data),
            "size": self.size,
            "errors": self.errors,
            "warnings": len(self.problems) - self.errors,
            "percentiles": PERCENTILES,
            "splits": [asdict(split) for split in self.splits],
            "problems": [{"level": _level(p.kind), "kind": p.kind.value, "message": p.message} for p in self.problems],
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


def _level(kind: Kind) -> str:
    return "error" if kind in ERRORS else "warning"
