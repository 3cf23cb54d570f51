"""Boxes and legends on pictures. All images here are uint8 (H,W,3) RGB; class ids are zero-based."""

from collections.abc import Sequence

import cv2
import numpy as np

CLASS_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""RGB. The palette of Okabe and Ito, which colour-blind people can tell apart, without its black."""
OUTLINE = (20, 20, 20)
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.6
ROW_PX = 32
"""Height of a row of the legend."""


def class_colour(class_id: int) -> tuple[int, int, int]:
    """RGB colour of a class; they repeat from the eighth on."""
    return CLASS_COLOURS[class_id % len(CLASS_COLOURS)]


def draw_boxes(image: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Draw boxes (N,4), xyxy px, in the colours of their classes (N,), dark-edged to stand out; return a copy."""
    drawn = image.copy()
    for (x1, y1, x2, y2), class_id in zip(boxes.round().astype(int).tolist(), classes.tolist(), strict=True):
        colour = class_colour(class_id)
        # Two pixels within the box, whose last pixel is x2 - 1, and one around it.
        for inset, line in ((-1, OUTLINE), (0, colour), (1, colour)):
            cv2.rectangle(drawn, (x1 + inset, y1 + inset), (x2 - 1 - inset, y2 - 1 - inset), line)
    return drawn


def draw_legend(names: Sequence[str], width: int) -> np.ndarray:
    """Class names beside their colours, in as many rows as a picture of ``width`` px needs."""
    places = []
    x, row = 0, 0
    for name in names:
        (text_px, _), _ = cv2.getTextSize(name, FONT, FONT_SCALE, 1)
        if x and x + ROW_PX + text_px > width:
            x, row = 0, row + 1
        places.append((x, row * ROW_PX))
        x += ROW_PX + text_px + ROW_PX // 2
    legend = np.full(((row + 1) * ROW_PX, width, 3), OUTLINE, np.uint8)
    for class_id, (name, (left, top)) in enumerate(zip(names, places, strict=True)):
        cv2.rectangle(legend, (left + 8, top + 8), (left + 24, top + 24), class_colour(class_id), cv2.FILLED)
        cv2.putText(legend, name, (left + ROW_PX, top + 22), FONT, FONT_SCALE, (255, 255, 255), 1, cv2.LINE_AA)
    return legend
