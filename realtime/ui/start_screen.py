"""What the window shows until the first frame is there."""

from contextlib import suppress

import cv2
import numpy as np

from realtime.drawing import strokes, text
from realtime.drawing.colours import PALETTE_BGR, WHITE
from realtime.sinks.base import StopRun
from realtime.ui.display import largest_wh, no_window_reason
from realtime.ui.keys import key_name
from realtime.ui.scale import prepare_qt

GROUND = 24
GREY = (170, 170, 170)
QUIT_KEYS = ("q", "esc")
SETTLE_MS = 10
SETTLES = 5
"""Window systems want a few events before they draw a new window."""


class StartScreen:
    """Opens the window before the source is opened; does nothing where no window can be shown."""

    def __init__(self, title: str, words: str, scale: float = 1.0, *, keeps_ratio: bool = True) -> None:
        """Open it with ``words``; ``scale`` of letters and lines; ``keeps_ratio``: of the image, as the window will."""
        self._title = title
        self._is_shown = False
        if no_window_reason() is not None:
            return
        prepare_qt()
        with suppress(cv2.error):
            size_wh = largest_wh(scale)
            open_window(title, size_wh, keeps_ratio=keeps_ratio)
            cv2.imshow(title, start_image(size_wh, words, scale=scale))
            for _ in range(SETTLES):
                cv2.waitKey(SETTLE_MS)
            self._is_shown = True

    def poll(self) -> None:
        """Process the events of the window.

        Raises:
            StopRun: the user wants to end.
        """
        if not self._is_shown:
            return
        key = key_name(cv2.waitKeyEx(1))
        if key in QUIT_KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 0:
            raise StopRun


def open_window(title: str, size_wh: tuple[int, int], *, keeps_ratio: bool = True) -> None:
    """A window of this size, or the one of this title if there is one."""
    ratio = cv2.WINDOW_KEEPRATIO if keeps_ratio else cv2.WINDOW_FREERATIO
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | ratio | cv2.WINDOW_GUI_NORMAL)
    cv2.resizeWindow(title, *size_wh)


def start_image(size_wh: tuple[int, int], words: str, *, name: str = "realtime", scale: float = 1.0) -> np.ndarray:
    """The name of the app, or of a camera, between brackets, and what it waits for: uint8 (H,W,3), BGR."""
    width, height = size_wh
    image = np.full((height, width, 3), GROUND, np.uint8)
    name, words = text.drawable(name), text.drawable(words)
    large_px, small_px = max(round(16 * scale), min(size_wh) // 14), text.size_for(image, ratio=scale)
    left, top = (width - text.width_px(name, large_px)) // 2, height // 2 - 2 * large_px
    text.write(image, name, (left, top), WHITE, large_px)
    left_of_words = max(0, (width - text.width_px(words, small_px)) // 2)
    text.write(image, words, (left_of_words, top + 2 * large_px), GREY, small_px)
    half = max(text.width_px(name, large_px), min(text.width_px(words, small_px), width - 8 * small_px)) / 2 + large_px
    box = width / 2 - half, top - large_px, width / 2 + half, top + 2 * large_px + 3 * small_px
    strokes.brackets(image, box, PALETTE_BGR[0], max(2 * round(scale), 2 * round(min(size_wh) / 480)))
    return image
