"""Label lines with key points, as YOLO pose and yolov5-face write them: ``class cx cy w h`` and then the points.

Such a line, with two numbers for each point (x y) or three (x y visibility), may be as long as one with a polygon.
``kpt_shape`` in ``data.yaml`` decides. Without it, lines are polygons, unless those of a split look like key points:

- nine in ten of those that are longer than a box have one length: polygons mostly differ;
- in most of these, the first four numbers are a box within the image that holds all visible points, and their second
  pair is no corner beside the first: it lies outside that box, or the first is surrounded by the points, as a centre
  is and a corner of a polygon is not; or there are visibilities.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

BOX_NUMBERS = 5
OUTSIDE_TOLERANCE = 0.01
"""How far, as a fraction of the side, a labelled box may reach outside the image before it counts as malformed."""
POINT_MARGIN = 0.1
"""How far, as a fraction of its sides, a key point may lie outside its box."""
MIN_COMMON_SHARE = 0.9
"""Share of the long lines that have one length, from which on they may be key points."""
VISIBILITIES = (0, 1, 2)
MAX_FREE_ANGLE = math.radians(150)
"""Points surround a centre if no larger angle around it is free of them. A corner of a jagged contour may lie within
the hull of the others, but it has most of them to one side."""


@dataclass(frozen=True, slots=True)
class KeyPointShape:
    """``kpt_shape``: how many points follow the box of a line, and how many numbers each has."""

    count: int
    """0: there are no key points, and a line longer than a box is a polygon."""
    dims: int
    """2: x y; 3: x y visibility."""

    def __str__(self) -> str:
        return f"[{self.count}, {self.dims}]"

    @property
    def numbers(self) -> int:
        """Numbers of a line with its key points."""
        return BOX_NUMBERS + self.count * self.dims


NO_KEY_POINTS = KeyPointShape(0, 2)


@dataclass(frozen=True, slots=True)
class Resemblance:
    """The key points that a line may hold."""

    shape: KeyPointShape
    is_likely: bool
    """The line makes an odd polygon; else it could be either."""


def key_points_of(values: Sequence[float]) -> Resemblance | None:
    """The key points that the values of a line may be, those after its class; None if they can be none."""
    for dims in (3, 2):
        count, rest = divmod(len(values) - 4, dims)
        if count < 1 or rest or not _is_box_within_image(values):
            continue
        points = _visible_points(values[4:], dims)
        if points is not None and all(_holds(values, x, y, POINT_MARGIN) for x, y in points):
            shape = KeyPointShape(count, dims)
            return Resemblance(shape, dims == 3 or _is_odd_polygon(values, points, count))
    return None


def lines_like_key_points(lines: Sequence[tuple[int, Resemblance | None]]) -> Iterator[int]:
    """Indices of the lines that are refused, since they are rather key points than polygons.

    Args:
        lines: of all lines longer than a box, how many numbers each has, and the key points that it may hold.
    """
    if not lines:
        return
    (common, number), *_ = Counter(count for count, _ in lines).most_common(1)
    likely = sum(count == common and found is not None and found.is_likely for count, found in lines)
    if number >= MIN_COMMON_SHARE * len(lines) and 2 * likely > number:
        yield from (i for i, (count, found) in enumerate(lines) if count == common and found)


def _is_box_within_image(values: Sequence[float]) -> bool:
    cx, cy, w, h = values[:4]
    low, high = -OUTSIDE_TOLERANCE, 1 + OUTSIDE_TOLERANCE
    sides = w > 0 and h > 0
    return sides and low <= cx - w / 2 and cx + w / 2 <= high and low <= cy - h / 2 and cy + h / 2 <= high


def _visible_points(values: Sequence[float], dims: int) -> list[tuple[float, float]] | None:
    """The points, without those that are marked as absent by 0 0 or -1 -1; None if a visibility is none."""
    if dims == 3 and any(value not in VISIBILITIES for value in values[2::3]):
        return None
    points = zip(values[0::dims], values[1::dims], strict=True)
    return [(x, y) for x, y in points if not (x == y and x in (0, -1))]


def _holds(box: Sequence[float], x: float, y: float, margin: float) -> bool:
    cx, cy, w, h = box[:4]
    reach = 0.5 + margin
    return abs(x - cx) <= reach * w and abs(y - cy) <= reach * h


def _is_odd_polygon(values: Sequence[float], points: list[tuple[float, float]], count: int) -> bool:
    cx, cy, w, h = values[:4]
    if not points or not _holds(values, w, h, 0):
        return count > 1 or bool(points)  # one corner of a triangle may be that of the image
    if count == 2 and len(points) == 2:
        (x3, y3), (x4, y4) = points
        return not (math.isclose(cx + x3, w + x4, abs_tol=0.01) and math.isclose(cy + y3, h + y4, abs_tol=0.01))
    return len(points) < 3 or _surround(points, cx, cy)


def _surround(points: list[tuple[float, float]], x: float, y: float) -> bool:
    """Whether a point lies well within others."""
    angles = np.sort([math.atan2(py - y, px - x) for px, py in points if (px, py) != (x, y)])
    gaps = np.diff(angles, append=angles[:1] + 2 * math.pi)
    return bool(len(angles) > 2 and gaps.max() < MAX_FREE_ANGLE)
