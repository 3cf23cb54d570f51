"""Drawing detections onto an image."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from realtime.drawing import text
from realtime.drawing.placement import place_labels
from realtime.drawing.text import Colour
from realtime.structures import Detections

# The palette of Okabe and Ito, which the colour-blind can tell apart too; BGR.
PALETTE_BGR: tuple[Colour, ...] = (
    (115, 158, 0), (233, 180, 86), (0, 159, 230), (167, 121, 204), (0, 94, 213), (66, 228, 240), (178, 114, 0),
)  # fmt: skip
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
LUMA_BGR = np.array((0.114, 0.587, 0.299))
"""Rec. ITU-R BT.601: how much each channel adds to perceived brightness."""


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A box to draw, and its label."""

    box: tuple[float, float, float, float]
    """xyxy in pixels."""
    label: str
    """Written as it is: pass foreign text through ``text.drawable`` first."""
    colour: Colour

    def scaled(self, factor: float) -> "LabelledBox":
        """For an image scaled by ``factor``."""
        x1, y1, x2, y2 = self.box
        return LabelledBox((x1 * factor, y1 * factor, x2 * factor, y2 * factor), self.label, self.colour)

    def mirrored(self, width: float) -> "LabelledBox":
        """For the mirror image, ``width`` pixels wide; the label stays: a left eye is its owner's left."""
        x1, y1, x2, y2 = self.box
        return LabelledBox((width - x2, y1, width - x1, y2), self.label, self.colour)


def labelled_boxes(detections: Detections, hidden: Collection[int] = ()) -> list[LabelledBox]:
    """Boxes with class name and score in percent, in the colour of their class; without those of ``hidden`` labels."""
    return [
        LabelledBox(tuple(box), f"{text.drawable(name)} {100 * score:.0f}", colour_of(label))
        for label, name, score, box in zip(
            detections.labels.tolist(),
            detections.names,
            detections.scores.tolist(),
            detections.boxes.tolist(),
            strict=True,
        )
        if label not in hidden
    ]


def colour_of(label: int) -> Colour:
    """The colour of a class."""
    return PALETTE_BGR[label % len(PALETTE_BGR)]


def draw(canvas: np.ndarray, boxes: Sequence[LabelledBox], *, labels: bool = True) -> None:
    """Draw boxes onto an image, in place; lines and letters scale with its size.

    Args:
        canvas: uint8 (H,W,3), BGR.
        boxes: in pixels of ``canvas``.
        labels: write the label of each box.
    """
    thickness_px = max(1, round(min(canvas.shape[:2]) / 240))
    # Large boxes first and labels last, so that the small parts of a face stay readable.
    boxes = sorted(boxes, key=lambda b: (b.box[2] - b.box[0]) * (b.box[3] - b.box[1]), reverse=True)
    rects = [(round(x1), round(y1), round(x2), round(y2)) for x1, y1, x2, y2 in (box.box for box in boxes)]
    rim = max(1, thickness_px // 2)  # dark, so that bright colours stay visible on light images
    for (x1, y1, x2, y2), box in zip(rects, boxes, strict=True):
        cv2.rectangle(canvas, (x1 - rim, y1 - rim), (x2 + rim, y2 + rim), BLACK, thickness_px)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), box.colour, thickness_px)
    if not labels:
        return
    size_px = text.size_for(canvas)
    height, margin = text.height_px(size_px), size_px // 4
    sizes_wh = [(text.width_px(box.label, size_px) + 2 * margin, height) for box in boxes]
    places = place_labels(rects, sizes_wh, (canvas.shape[1], canvas.shape[0]))
    for box, (x, y), (width, _) in zip(boxes, places, sizes_wh, strict=True):
        cv2.rectangle(canvas, (x, y), (x + width - 1, y + height - 1), box.colour, cv2.FILLED)
        text.write(canvas, box.label, (x + margin, y), ink_on(box.colour), size_px)


@cache
def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever contrasts more with a background."""
    return BLACK if float(LUMA_BGR @ colour) > 100 else WHITE
