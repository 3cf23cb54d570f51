"""Text in images, antialiased, in the TrueType fonts that OpenCV 5 brings along."""

import threading
import unicodedata
from functools import cache

import cv2
import numpy as np

from realtime.drawing.colours import Colour

FONT = cv2.FontFace("sans")
"""Latin, Greek, Cyrillic, Chinese, Japanese and Korean; letters of Hebrew and Arabic, unjoined."""
_ONE_AT_A_TIME = threading.Lock()
"""A font has settings of its own (weight, size), and OpenCV does not say that threads may share it."""
WEIGHT = 500
"""Between regular (400) and bold (700): still clear on a coloured ground at the smallest size."""
LINE_HEIGHT = 1.3
"""Of the font size; OpenCV's fonts reach from one size above the base line to a quarter below it."""


SMALLEST_PX = 11
"""Font size from which on letters can be read."""


def size_for(image: np.ndarray, scale: float = 1.0, *, ratio: float = 1.0) -> int:
    """Font size in pixels that suits an image (H,W,3), times ``scale``, and stays readable in the smallest.

    ``ratio``: how many pixels of the image are as large as one of a usual screen.
    """
    return size_for_wh((image.shape[1], image.shape[0]), scale, ratio=ratio)


def size_for_wh(size_wh: tuple[int, int], scale: float = 1.0, *, ratio: float = 1.0) -> int:
    """The same for an image of this width and height."""
    smallest = SMALLEST_PX * ratio
    return round(max(smallest, scale * max(smallest, min(size_wh) / 40)))


def width_px(text: str, size_px: int) -> int:
    """Width of a text in pixels."""
    with _ONE_AT_A_TIME:
        _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), FONT, size_px, WEIGHT)
    return int(width)


def height_px(size_px: int) -> int:
    """Height of a line in pixels."""
    return round(LINE_HEIGHT * size_px)


def write(image: np.ndarray, text: str, corner: tuple[int, int], colour: Colour, size_px: int) -> None:
    """Write a line into ``image``, in place; ``corner`` is the upper left one of its line of ``height_px``."""
    with _ONE_AT_A_TIME:
        cv2.putText(image, text, (corner[0], corner[1] + size_px), colour, FONT, size_px, WEIGHT)


@cache
def drawable(text: str) -> str:
    r"""The text with all that the fonts cannot show written as an escape, such as ``\u0e01``; OpenCV would put '?'."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(c if _has_glyph(c) else c.encode("unicode_escape").decode("ascii") for c in composed)


@cache
def _has_glyph(character: str) -> bool:
    if character in " ?":
        return True
    image = _image_of(character)
    return bool(image.any()) and not np.array_equal(image, _image_of("?"))


def _image_of(character: str) -> np.ndarray:
    image = np.zeros((48, 96, 3), np.uint8)
    write(image, character, (24, 8), (255, 255, 255), 24)
    return image
