"""Tags: a line of text on a ground of one colour, kept as images, since most are the same in the next frame."""

from functools import lru_cache

import cv2
import numpy as np

from realtime.drawing import text
from realtime.drawing.colours import Colour, ink_on
from realtime.drawing.strokes import overlap, shade_of

RIM_PX = 1
"""Width of the halo around a tag."""
SHARPER = 4
"""Corners are drawn at this many times the size, and reduced."""


def size_wh(words: str, size_px: int) -> tuple[int, int]:
    """Width and height in pixels of a tag, its halo included."""
    width = _width_px(words, size_px) + 2 * _margin_px(size_px) + 2 * RIM_PX
    return width, text.height_px(size_px) + 2 * RIM_PX


def put(canvas: np.ndarray, words: str, corner: tuple[int, int], colour: Colour, size_px: int) -> None:
    """Put a tag onto an image, in place; ``corner`` is its upper left one. What lies outside is cut off."""
    image, mask = _tag(words, colour, size_px)
    if shared := overlap(canvas, mask, corner):
        part, inner = shared
        cv2.copyTo(image[inner], mask[inner], part)


@lru_cache(maxsize=512)
def _tag(words: str, colour: Colour, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """A tag, uint8 (h,w,3) BGR, and where it covers the image, uint8 (h,w), 0 or 255."""
    size = size_wh(words, size_px)
    radius = max(2, size_px // 5)
    inner = _rounded(size, RIM_PX, radius)[..., None]
    ground = np.rint(inner * colour + (1 - inner) * shade_of(colour)).astype(np.uint8)
    text.write(ground, words, (RIM_PX + _margin_px(size_px), RIM_PX), ink_on(colour), size_px)
    mask = np.where(_rounded(size, 0, radius + RIM_PX) > 0.5, 255, 0).astype(np.uint8)
    return ground, mask


def _rounded(outer_wh: tuple[int, int], inset: int, radius: int) -> np.ndarray:
    """A rectangle with round corners, float32 (h,w), 0..1."""
    scale = SHARPER
    mask = np.zeros((scale * outer_wh[1], scale * outer_wh[0]), np.float32)
    low, r = scale * (inset + radius), scale * radius
    right, bottom = mask.shape[1] - 1 - low, mask.shape[0] - 1 - low
    corners = np.array([(low, low), (right, low), (right, bottom), (low, bottom)])
    cv2.fillConvexPoly(mask, corners, 1.0)
    cv2.polylines(mask, [corners], isClosed=True, color=1.0, thickness=2 * r)
    return cv2.resize(mask, outer_wh, interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=4096)
def _width_px(words: str, size_px: int) -> int:
    return text.width_px(words, size_px)


def _margin_px(size_px: int) -> int:
    return size_px // 3
