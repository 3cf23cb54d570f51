"""Hiding faces, or other classes, in place of drawing boxes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from realtime.errors import ModelError
from realtime.structures import Detections, Frame

BLOCKS = 5
"""Blocks along the longer side of what is hidden: too few to recognize a face by."""
MARGIN = 0.2
"""Margin that is hidden around a box, as a share of its longer side."""
HOLD_S = 0.5
"""A box that is not found again stays hidden for this time: a frame that the detector misses must not reveal the face.
The time between two frames counts as at most half of it."""
GROWTH_PER_S = 0.5
"""Share of its longer side by which such a box grows on each side: the face may have moved."""


@dataclass(frozen=True, slots=True)
class HeldBox:
    """A box and the time at which it was last found."""

    box: np.ndarray
    """(4,) float32, xyxy in pixels."""
    seen_s: float


def hold(held: Iterable[HeldBox], boxes: np.ndarray, now_s: float) -> list[HeldBox]:
    """The boxes to hide now: those found in this frame, and earlier ones that none of them replaces.

    Args:
        held: what this function returned for the previous frame.
        boxes: (N,4) float32, xyxy in pixels, found in this frame.
        now_s: its timestamp in seconds.
    """
    missed = [old for old in held if 0 <= now_s - old.seen_s <= HOLD_S and not _is_replaced(old.box, boxes)]
    return [HeldBox(box, now_s) for box in boxes] + missed


def _is_replaced(box: np.ndarray, boxes: np.ndarray) -> bool:
    """True if one of ``boxes`` covers the centre of ``box`` and is not much smaller."""
    middle = (box[:2] + box[2:]) / 2
    covers = ((boxes[:, :2] <= middle) & (middle <= boxes[:, 2:])).all(1)
    sides = boxes[:, 2:] - boxes[:, :2]
    return bool((covers & (sides >= 0.5 * (box[2:] - box[:2])).all(1)).any())


def hide(image: np.ndarray, held: Iterable[HeldBox], now_s: float) -> np.ndarray:
    """Replace each box and a margin by a few blocks, each of its mean colour.

    Args:
        image: uint8 (H,W,3); left as it is.
        held: what to hide.
        now_s: timestamp of ``image`` in seconds.

    Returns:
        A new image of the same shape.
    """
    canvas = image.copy()
    for item in held:
        margin = MARGIN + GROWTH_PER_S * (now_s - item.seen_s)
        x1, y1, x2, y2 = _grown(item.box, margin, (image.shape[1], image.shape[0]))
        if x2 > x1 and y2 > y1:
            # Of the canvas, not the image: where two boxes overlap, neither may bring back what the other hid.
            canvas[y1:y2, x1:x2] = _pixelated(canvas[y1:y2, x1:x2])
    return canvas


def _grown(box: np.ndarray, margin: float, size_wh: tuple[int, int]) -> list[int]:
    """Whole pixels around a box and its margin, inside the image."""
    edge = margin * float((box[2:] - box[:2]).max())
    limits = np.array([*size_wh, *size_wh])
    outer = np.concatenate([np.floor(box[:2] - edge), np.ceil(box[2:] + edge)])
    corners: list[int] = np.clip(outer, 0, limits).astype(int).tolist()
    return corners


def _pixelated(part: np.ndarray) -> np.ndarray:
    height, width = part.shape[:2]
    block_px = max(height, width) / BLOCKS
    blocks_wh = max(1, round(width / block_px)), max(1, round(height / block_px))
    blocks = cv2.resize(part, blocks_wh, interpolation=cv2.INTER_AREA)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


class Pixelate:
    """Draws frames with chosen classes pixelated, faces say."""

    def __init__(self, class_names: tuple[str, ...], hidden: str) -> None:
        """``hidden``: names of classes, separated by commas.

        Raises:
            ModelError: the model has no such class.
        """
        names = [name.strip() for name in hidden.split(",")]
        for name in names:
            if name not in class_names:
                choices = f"choose from {', '.join(class_names)}"
                raise ModelError("the model has no such class", parameter="blur", value=name, remedy=choices)
        self._labels = [class_names.index(name) for name in names]
        self._held: list[HeldBox] = []
        self._clock_s = 0.0
        """Clock of the held boxes; a frame advances it by at most half of ``HOLD_S``: one miss reveals nothing."""
        self._last_s = math.inf
        self._last_wh: tuple[int, int] | None = None

    def __call__(self, frame: Frame, detections: Detections) -> np.ndarray:
        """The image uint8 (H,W,3) BGR to show of the next frame of a stream."""
        boxes = detections.boxes[np.isin(detections.labels, self._labels)]
        size_wh = frame.image.shape[1], frame.image.shape[0]
        if self._last_wh and size_wh != self._last_wh:  # a stream may change its size
            factors = np.tile(np.divide(size_wh, self._last_wh), 2).astype(np.float32)
            self._held = [replace(old, box=old.box * factors) for old in self._held]
        self._clock_s += min(max(frame.pts_s - self._last_s, 0.0), HOLD_S / 2)
        self._last_s, self._last_wh = frame.pts_s, size_wh
        self._held = hold(self._held, boxes, self._clock_s)
        return hide(frame.image, self._held, self._clock_s)

    def still(self, image: np.ndarray, detections: Detections) -> np.ndarray:
        """The same for a still image."""
        boxes = detections.boxes[np.isin(detections.labels, self._labels)]
        return hide(image, hold([], boxes, 0.0), 0.0)
