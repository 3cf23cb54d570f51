"""Storing a photo: cropped around its objects and scaled down, with its boxes."""

from dataclasses import dataclass

import cv2
import numpy as np

MIN_VISIBLE = 0.4
"""A box is kept if this fraction of its area is in the photo, as in the augmentation of training."""
MIN_SIDE_PX = 1.0
"""A box with a side below this, in the stored photo, is left out."""
JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Stored:
    """A photo as it will be stored."""

    image: np.ndarray
    """uint8 (H,W,3), RGB."""
    boxes: np.ndarray
    """(N,4) float64, xyxy as fractions of width and height, within 0..1."""
    kept: np.ndarray
    """(M,) bool: which of the M given boxes are kept; the others are outside the photo or too small."""
    cropped: bool
    changed: bool
    """Cropped or scaled: the photo's file cannot be copied."""


def store(image: np.ndarray, boxes: np.ndarray, crop_margin: float | None, max_side_px: int | None) -> Stored:
    """Clip the boxes to a photo, crop it around them all, scale it down.

    Args:
        image: uint8 (H,W,3), RGB.
        boxes: (M,4) float64, xyxy pixels. Without any, the photo is not cropped.
        crop_margin: margin around each box, as a fraction of its longer side; None keeps the whole photo.
        max_side_px: longest side to store; None for no limit.
    """
    height, width = image.shape[:2]
    clipped = np.clip(boxes, 0, [width, height, width, height])
    visible = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept = visible >= MIN_VISIBLE
    x1, y1, x2, y2 = 0, 0, width, height
    if crop_margin is not None and kept.any():
        x1, y1, x2, y2 = crop_window(clipped[kept], crop_margin, (width, height))
    scale = min(1.0, max_side_px / max(x2 - x1, y2 - y1)) if max_side_px else 1.0
    kept &= ((clipped[:, 2:] - clipped[:, :2]) * scale >= MIN_SIDE_PX).all(axis=1)
    stored = np.ascontiguousarray(image[y1:y2, x1:x2])
    if scale < 1:
        size_wh = (max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale)))
        stored = cv2.resize(stored, size_wh, interpolation=cv2.INTER_AREA)
    fractions = (clipped[kept] - [x1, y1, x1, y1]) / [x2 - x1, y2 - y1, x2 - x1, y2 - y1]
    cropped = (x2 - x1, y2 - y1) != (width, height)
    return Stored(stored, fractions, kept, cropped, cropped or scale < 1)


def crop_window(boxes: np.ndarray, margin: float, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """The window x1 y1 x2 y2 of a photo, in whole pixels, that contains every box and its margin."""
    reach = margin * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    low = np.floor((boxes[:, :2] - reach).min(axis=0)).clip(0)
    high = np.ceil((boxes[:, 2:] + reach).max(axis=0)).clip(None, size_wh)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def jpeg_bytes(image: np.ndarray) -> bytes:
    """An image uint8 (H,W,3) RGB as JPEG."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "OpenCV encodes every image of 8 bits"
    return data.tobytes()
