"""Lines and fills that keep their colour in video, and leave clear what they surround.

H.264 and most other codecs store colour at half the resolution (4:2:0), one value for two by two pixels. A line keeps
its colour if it fills such squares, so its inner edges lie on even coordinates and it is at least two pixels wide. The
halo that sets it off from bright images lies outside and is of the same hue: black beside a thin line would take its
colour away.
"""

import math
from functools import cache, lru_cache

import cv2
import numpy as np

from realtime.drawing.colours import Colour
from realtime.structures import Box

SHADE = 0.25
"""Brightness of a halo, relative to the line's."""
BRACKET = 0.24
"""Length of a bracket's arms as a share of the box's shorter side."""
FILL_OPACITY = 0.4
MAX_KEPT_PX = 100
"""Longer side of the largest stamp that is kept for the next frames, so that all take 60 MB at most."""

Stamp = tuple[np.ndarray, np.ndarray]
"""What is left of an image where it is put, and what it adds, both uint8 (H,W,3), 0..255."""
SUBPIXEL_BITS = 3
SUBPIXELS = 2**SUBPIXEL_BITS
"""In which curves are positioned."""
POINTS = 2.8
"""Of a curve, times the square root of its diameter in pixels: so it is nowhere 0.16 pixels off."""
MAX_HALF_PX = 10_000
"""Half a side of the largest ellipse: OpenCV's coordinates end at 2**15."""


def clear_rect(box: Box) -> tuple[int, int, int, int]:
    """The smallest rectangle around a box with even coordinates, which the lines around it leave clear."""
    x1, y1, x2, y2 = box
    return 2 * int(x1 // 2), 2 * int(y1 // 2), -2 * int(-x2 // 2), -2 * int(-y2 // 2)


def halo_px(line_px: int) -> int:
    """Width of the halo outside of a line."""
    return max(1, line_px // 3)


@cache
def shade_of(colour: Colour) -> Colour:
    """The colour of the halo of a line: dark, and of the same hue."""
    blue, green, red = (round(SHADE * channel) for channel in colour)
    return blue, green, red


def box(canvas: np.ndarray, around: Box, colour: Colour, line_px: int) -> None:
    """Draw a rectangle around a box, in place."""
    x1, y1, x2, y2 = clear_rect(around)
    for grown in range(line_px + halo_px(line_px), 0, -1):
        ink = colour if grown <= line_px else shade_of(colour)
        cv2.rectangle(canvas, (x1 - grown, y1 - grown), (x2 - 1 + grown, y2 - 1 + grown), ink)


def brackets(canvas: np.ndarray, around: Box, colour: Colour, line_px: int) -> None:
    """Draw the four corners of a rectangle around a box, in place; all of it where they would meet.

    Args:
        canvas: uint8 (H,W,3), BGR.
        around: xyxy in pixels; nothing is drawn inside of it.
        colour: of the lines.
        line_px: their width.
    """
    x1, y1, x2, y2 = clear_rect(around)
    arm = max(2 * line_px, 2 * round(BRACKET / 2 * min(x2 - x1, y2 - y1)))
    if 2 * arm >= min(x2 - x1, y2 - y1):
        box(canvas, around, colour, line_px)
        return
    left, top, right, bottom = x1 - line_px, y1 - line_px, x2 + line_px, y2 + line_px
    columns, rows = ((left, x1 + arm), (x2 - arm, right)), ((top, y1 + arm), (y2 - arm, bottom))
    halo = halo_px(line_px)
    for grown, ink in ((halo, shade_of(colour)), (0, colour)):
        for begin, end in columns:
            x_begin, x_end = (begin - grown, end) if begin == left else (begin, end + grown)
            _fill(canvas, x_begin, top - grown, x_end, y1, ink)
            _fill(canvas, x_begin, y2, x_end, bottom + grown, ink)
        for begin, end in rows:
            _fill(canvas, left - grown, begin, x1, end, ink)
            _fill(canvas, x2, begin, right + grown, end, ink)


def ellipse(canvas: np.ndarray, inside: Box, colour: Colour, line_px: int) -> None:
    """Draw the ellipse that touches the edges of a box from outside, in place; a small one to the nearest pixel."""
    x1, y1, x2, y2 = inside
    longer = max(x2 - x1, y2 - y1)
    if not 0 < longer < 2 * MAX_HALF_PX:
        return
    around = line_px + halo_px(line_px) + 1
    if longer + 2 * around > MAX_KEPT_PX:
        _smooth_ellipse(canvas, inside, colour, line_px)
        return
    left, top, right, bottom = (round(value) for value in inside)
    stamp = _ellipse_stamp(colour, (max(1, right - left), max(1, bottom - top)), line_px, around)
    _put(canvas, stamp, (left - around, top - around))


def _smooth_ellipse(canvas: np.ndarray, inside: Box, colour: Colour, line_px: int) -> None:
    x1, y1, x2, y2 = inside
    width, height = x2 - x1, y2 - y1
    step_deg = max(1, int(360 / (POINTS * max(width, height) ** 0.5)))
    # Corners as far outside the curve as the middles of edges are inside: fewer are needed.
    half, halo = SUBPIXELS / (1 + math.cos(math.radians(step_deg / 2))), halo_px(line_px)
    centre = round(SUBPIXELS / 2 * (x1 + x2 - 1)), round(SUBPIXELS / 2 * (y1 + y2 - 1))
    half_width, half_height = round(half * width), round(half * height)

    def around(grown: int) -> np.ndarray:
        half_wh = half_width + grown, half_height + grown
        return np.asarray(cv2.ellipse2Poly(centre, half_wh, 0, 0, 360, step_deg))

    outer, inner = around(SUBPIXELS * line_px), around(0)
    rim = around(SUBPIXELS * line_px + SUBPIXELS // 2 * halo)
    cv2.polylines(canvas, [rim], isClosed=True, color=shade_of(colour), thickness=halo, shift=SUBPIXEL_BITS)
    # Two outlines of one polygon: what is between them is filled. This is quicker than a thick smooth line.
    cv2.fillPoly(canvas, [outer, inner], colour, cv2.LINE_AA, SUBPIXEL_BITS)


def dot(canvas: np.ndarray, at: Box, colour: Colour, radius_px: float) -> None:
    """Draw a dot at the centre of a box, in place."""
    x, y = (round(SUBPIXELS * ((low + high) / 2 - 0.5)) for low, high in ((at[0], at[2]), (at[1], at[3])))
    for radius, ink in ((radius_px + max(1.0, radius_px / 4), shade_of(colour)), (radius_px, colour)):
        cv2.circle(canvas, (x, y), round(SUBPIXELS * radius), ink, cv2.FILLED, cv2.LINE_AA, shift=3)


def fill(canvas: np.ndarray, inside: Box, colour: Colour) -> None:
    """Tint the ellipse in a box, in place, with soft edges."""
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in inside)
    wh = x2 - x1, y2 - y1
    if min(wh) < 1 or wh[0] > 2 * width or wh[1] > 2 * height:
        return
    _put(canvas, _kept_tint(colour, wh) if max(wh) <= MAX_KEPT_PX else _tint(colour, wh), (x1, y1))


def _put(canvas: np.ndarray, stamp: Stamp, corner: tuple[int, int]) -> None:
    """Put a stamp onto an image, in place; ``corner`` is its upper left one. What lies outside is cut off."""
    kept, added = stamp
    if shared := overlap(canvas, kept, corner):
        part, inner = shared
        cv2.add(cv2.multiply(part, kept[inner], scale=1 / 255), added[inner], dst=part)


def overlap(
    canvas: np.ndarray, patch: np.ndarray, corner: tuple[int, int]
) -> tuple[np.ndarray, tuple[slice, slice]] | None:
    """Where a patch (h,w,…) with its upper left corner at (x, y) lies in an image (H,W,…).

    Returns:
        That part of the image, a view, and which part of the patch lies there; None if it lies outside.
    """
    height, width = canvas.shape[:2]
    x, y = corner
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + patch.shape[1], width), min(y + patch.shape[0], height)
    if left >= right or top >= bottom:
        return None
    return canvas[top:bottom, left:right], (slice(top - y, bottom - y), slice(left - x, right - x))


@lru_cache(maxsize=512)
def _ellipse_stamp(colour: Colour, wh: tuple[int, int], line_px: int, around: int) -> Stamp:
    """A small ellipse of this width and height with ``around`` pixels on each side, kept for the next frames."""
    shape = wh[1] + 2 * around, wh[0] + 2 * around, 3
    on_black, on_white = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
    for ground in (on_black, on_white):
        _smooth_ellipse(ground, (around, around, around + wh[0], around + wh[1]), colour, line_px)
    return cv2.subtract(on_white, on_black), on_black


def _tint(colour: Colour, wh: tuple[int, int]) -> Stamp:
    kept, added = (cv2.resize(each, wh) for each in _soft_ellipse(colour))
    return kept, added


@lru_cache(maxsize=512)
def _kept_tint(colour: Colour, wh: tuple[int, int]) -> Stamp:
    """A small one, kept for the next frames."""
    return _tint(colour, wh)


@cache
def _soft_ellipse(colour: Colour) -> Stamp:
    """A tint of 64x64 pixels."""
    mask = np.zeros((64, 64, 3), np.float32)
    cv2.ellipse(mask, (32, 32), (28, 28), 0, 0, 360, (1, 1, 1), cv2.FILLED)
    opacity = FILL_OPACITY * cv2.GaussianBlur(mask, (0, 0), 2.5)
    return np.rint(255 * (1 - opacity)).astype(np.uint8), np.rint(opacity * colour).astype(np.uint8)


def _fill(canvas: np.ndarray, x1: int, y1: int, x2: int, y2: int, colour: Colour) -> None:
    if x2 > 0 and y2 > 0 and x2 > x1 and y2 > y1:
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colour, cv2.FILLED)
