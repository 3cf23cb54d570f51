"""Several images in one: a grid, or one of them large."""

import math
from collections.abc import Sequence

import numpy as np

GAP_PX = 2
"""Between two images."""
Rect = tuple[int, int, int, int]
"""xywh in pixels."""


def cells(count: int, size_wh: tuple[int, int], image_aspect: float = 16 / 9) -> list[Rect]:
    """Places for ``count`` images in a space, in rows from the upper left.

    There are as many columns as make images of this width by height largest.
    """
    if count == 0:
        return []
    widths = {number: _image_width(number, count, size_wh, image_aspect) for number in range(1, count + 1)}
    columns = max(widths, key=lambda number: (round(widths[number]), number))
    rows = math.ceil(count / columns)
    xs = [round(column * size_wh[0] / columns) for column in range(columns + 1)]
    ys = [round(row * size_wh[1] / rows) for row in range(rows + 1)]
    places = [divmod(number, columns) for number in range(count)]
    return [
        (xs[column], ys[row], xs[column + 1] - xs[column] - GAP_PX, ys[row + 1] - ys[row] - GAP_PX)
        for row, column in places
    ]


def _image_width(columns: int, count: int, size_wh: tuple[int, int], aspect: float) -> float:
    rows = math.ceil(count / columns)
    return min(size_wh[0] / columns, aspect * size_wh[1] / rows)


def cell_at(places: Sequence[Rect], x: int, y: int) -> int | None:
    """Which of the places holds a point."""
    for number, (left, top, width, height) in enumerate(places):
        if left <= x < left + width and top <= y < top + height:
            return number
    return None


def paste(canvas: np.ndarray, image: np.ndarray, place: Rect) -> None:
    """Put an image into the middle of a place, in place; what exceeds it is cut off."""
    left, top, width, height = place
    image = image[:height, :width]
    y, x = top + (height - image.shape[0]) // 2, left + (width - image.shape[1]) // 2
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
