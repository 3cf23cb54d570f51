"""Boxes, captions and legends on images. All images here are uint8 (H,W,3) RGB; class ids are zero-based."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Colour = tuple[int, int, int]

# Okabe and Ito's palette, safe for colour-blind readers, in the order of the app. Red is reserved for errors, which
# have captions as well.
CLASS_COLOURS: tuple[Colour, ...] = (
    (0, 158, 115), (86, 180, 233), (230, 159, 0), (204, 121, 167), (213, 94, 0), (240, 228, 66), (0, 114, 178),
)  # fmt: skip
ERROR_COLOUR: Colour = (220, 0, 50)
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
OUTLINE: Colour = (20, 20, 20)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.45
LEGEND_FONT_SCALE = 0.6
LEGEND_ROW_PX = 32
DASH_PX = 7
MAX_CAPTIONS, MAX_AVOIDED = 24, 60
"""Of one image: captions, and boxes that they avoid. More would cover it, and take long to place."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One box to draw."""

    box: tuple[float, float, float, float]
    """xyxy in pixels of the image."""
    colour: Colour
    caption: str = ""
    dashed: bool = False


def class_colour(class_id: int) -> Colour:
    """Colour of a class; they repeat after seven."""
    return CLASS_COLOURS[class_id % len(CLASS_COLOURS)]


def draw_boxes(image: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """Draw boxes, then captions where they cover least, with a line to a box that is not adjacent.

    Args:
        image: uint8 (H,W,3) RGB; not changed.
        marks: what to draw, in this order.

    Returns:
        A new image of the same shape.
    """
    canvas = image.copy()
    for mark in marks:
        x1, y1, x2, y2 = (round(value) for value in mark.box)
        if mark.dashed:
            for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
                _dashed_line(canvas, start, end, mark.colour)
        else:
            # Two pixels within the box, whose last pixel is x2 - 1, and a dark outline, for light images.
            for inset, line in ((-1, OUTLINE), (0, mark.colour), (1, mark.colour)):
                cv2.rectangle(canvas, (x1 + inset, y1 + inset), (x2 - 1 - inset, y2 - 1 - inset), line)
    boxes = np.array([mark.box for mark in marks[:MAX_AVOIDED]], np.float64).reshape(-1, 4)
    taken = np.zeros((0, 4))
    for mark in [mark for mark in marks if mark.caption][:MAX_CAPTIONS]:
        taken = np.vstack([taken, _draw_caption(canvas, mark, boxes, taken)])
    return canvas


def draw_line_of_text(canvas: np.ndarray, parts: Sequence[tuple[str, Colour]], *, baseline_y: int) -> None:
    """Write coloured words side by side from the left edge on, in place."""
    x = 6
    for text, colour in parts:
        cv2.putText(canvas, text, (x, baseline_y), FONT, FONT_SCALE, colour, 1, cv2.LINE_AA)
        x += cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0] + 10


def draw_legend(names: Sequence[str], width: int) -> np.ndarray:
    """Class names beside their colours, in as many rows as an image of ``width`` px needs."""
    places = []
    x, row = 0, 0
    for name in names:
        (text_px, _), _ = cv2.getTextSize(name, FONT, LEGEND_FONT_SCALE, 1)
        if x and x + LEGEND_ROW_PX + text_px > width:
            x, row = 0, row + 1
        places.append((x, row * LEGEND_ROW_PX))
        x += LEGEND_ROW_PX + text_px + LEGEND_ROW_PX // 2
    legend = np.full(((row + 1) * LEGEND_ROW_PX, width, 3), OUTLINE, np.uint8)
    for class_id, (name, (left, top)) in enumerate(zip(names, places, strict=True)):
        cv2.rectangle(legend, (left + 8, top + 8), (left + 24, top + 24), class_colour(class_id), cv2.FILLED)
        place = left + LEGEND_ROW_PX, top + 22
        cv2.putText(legend, name, place, FONT, LEGEND_FONT_SCALE, WHITE, 1, cv2.LINE_AA)
    return legend


def _dashed_line(canvas: np.ndarray, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
    """Dashes, alternately of ``colour`` and white, from corner to corner."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    corners = np.array([start, end], np.float64)
    for i, at in enumerate(range(0, length, DASH_PX)):
        ends = np.array([at, min(at + DASH_PX, length)]) / length
        first, last = np.rint(corners[0] + ends[:, None] * (corners[1] - corners[0])).astype(int).tolist()
        cv2.line(canvas, first, last, WHITE if i % 2 else colour, 2)


def _draw_caption(canvas: np.ndarray, mark: Mark, boxes: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Draw a caption on the mark's colour; return its rectangle, (4,) xyxy."""
    (width, height), baseline = cv2.getTextSize(mark.caption, FONT, FONT_SCALE, 1)
    height += baseline + 3
    place = _best_place(canvas, (width + 4, height), np.array(mark.box), boxes, taken)
    x1, y1, x2, y2 = (int(value) for value in place)
    near = np.clip(mark.box, place[[0, 1, 0, 1]], place[[2, 3, 2, 3]])  # its corners, drawn into the caption
    start = np.rint((near[:2] + near[2:]) / 2)
    end = np.rint(np.clip(start, mark.box[:2], mark.box[2:]))
    cv2.line(canvas, start.astype(int).tolist(), end.astype(int).tolist(), mark.colour, 1, cv2.LINE_AA)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), mark.colour, cv2.FILLED)
    text_colour = BLACK if np.dot(mark.colour, (0.299, 0.587, 0.114)) > 100 else WHITE
    cv2.putText(canvas, mark.caption, (x1 + 2, y2 - baseline), FONT, FONT_SCALE, text_colour, 1, cv2.LINE_AA)
    return place


def _best_place(
    canvas: np.ndarray, size_wh: tuple[int, int], box: np.ndarray, boxes: np.ndarray, taken: np.ndarray
) -> np.ndarray:
    """The rectangle for a caption that is near its box and covers few boxes and no other caption."""
    right, bottom = max(1, canvas.shape[1] - size_wh[0]), max(1, canvas.shape[0] - size_wh[1])
    xs = np.append(np.arange(0, right, 8), np.clip(box[[0, 2]] - [0, size_wh[0]], 0, right - 1))
    ys = np.append(np.arange(0, bottom, 4), np.clip(box[[1, 3]] - [size_wh[1] + 1, -2], 0, bottom - 1))
    corners = np.stack(np.meshgrid(np.rint(xs), np.rint(ys)), axis=-1).reshape(-1, 2)
    places = np.hstack([corners, corners + size_wh])
    gap = np.maximum(places[:, :2] - box[2:], box[:2] - places[:, 2:]).clip(0)
    share = [_overlap_areas(places, others).sum(axis=1) / np.prod(size_wh) for others in (boxes, taken)]
    # In pixels: how much farther a caption may be to cover less.
    cost = np.hypot(gap[:, 0], gap[:, 1]) + 100 * share[0] + 1000 * share[1]
    best: np.ndarray = places[cost.argmin()]
    return best


def _overlap_areas(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area that each of P places (P,4) shares with each of K boxes (K,4), all xyxy: (P,K)."""
    low = np.maximum(places[:, None, :2], others[:, :2])
    high = np.minimum(places[:, None, 2:], others[:, 2:])
    areas: np.ndarray = (high - low).clip(0).prod(axis=2)
    return areas
