"""What the window shows until the first frame is there."""

import os
from contextlib import suppress

import cv2
import numpy as np

from realtime.drawing import strokes, text
from realtime.drawing.colours import PALETTE_BGR, WHITE
from realtime.sinks.base import StopRun
from realtime.ui.display import largest_wh, no_window_reason, supports_x11_only
from realtime.ui.keys import key_name

GROUND = 24
GREY = (170, 170, 170)
QUIT_KEYS = ("q", "esc")
SETTLE_MS = 10
SETTLES = 5
"""Window systems want a few events before they draw a new window."""


class StartScreen:
    """Opens the window before the source is opened; does nothing where no window can be shown."""

    def __init__(self, title: str, words: str) -> None:
        self._title = title
        self._is_shown = False
        if no_window_reason() is not None:
            return
        prepare_qt()
        with suppress(cv2.error):
            open_window(title, largest_wh())
            cv2.imshow(title, start_image(largest_wh(), words))
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


def open_window(title: str, size_wh: tuple[int, int]) -> None:
    """A window of this size, or the one of this title if there is one."""
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    cv2.resizeWindow(title, *size_wh)


def prepare_qt() -> None:
    """Tell Qt, which is part of OpenCV's wheels, how to behave."""
    if supports_x11_only():
        os.environ["QT_QPA_PLATFORM"] = "xcb"  # Wayland desktops ask for another, for which Qt ends the process
    # Qt warns five times that OpenCV's wheel has no fonts; the app draws its own text.
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")


def start_image(size_wh: tuple[int, int], words: str) -> np.ndarray:
    """The name of the app between brackets, and what it waits for: uint8 (H,W,3), BGR."""
    width, height = size_wh
    image = np.full((height, width, 3), GROUND, np.uint8)
    large_px, small_px = max(16, min(size_wh) // 14), text.size_for(image)
    name = "realtime"
    left, top = (width - text.width_px(name, large_px)) // 2, height // 2 - 2 * large_px
    text.write(image, name, (left, top), WHITE, large_px)
    words = text.drawable(words)
    left_of_words = max(0, (width - text.width_px(words, small_px)) // 2)
    text.write(image, words, (left_of_words, top + 2 * large_px), GREY, small_px)
    half = max(text.width_px(name, large_px), min(text.width_px(words, small_px), width - 8 * small_px)) / 2 + large_px
    box = width / 2 - half, top - large_px, width / 2 + half, top + 2 * large_px + 3 * small_px
    strokes.brackets(image, box, PALETTE_BGR[0], max(2, 2 * round(min(size_wh) / 480)))
    return image
