"""A live window."""

import os
import platform
import re
import time

import cv2
import numpy as np

from realtime.errors import SinkError
from realtime.sinks.base import Ending, StopRun
from realtime.structures import Result

QUIT_KEYS = frozenset({ord("q"), ord("Q"), 27})
"""q and Esc."""
MAX_WAIT_MS = 50
"""Longest wait for a frame's time without a look at what the user does."""


class WindowSink:
    """Shows the drawn frames; q, Esc or closing the window ends the run."""

    needs_canvas = True
    is_slow = False  # and most window systems want the main thread

    def __init__(self, title: str, *, paced: bool, instead: str) -> None:
        """Check that a window can be shown; it opens with the first frame.

        Args:
            title: of the window.
            paced: show each frame no sooner than its timestamp says, as a player of files does.
            instead: the option that does without a window, for the message.

        Raises:
            SinkError: no display, or an OpenCV that was built without windows.
        """
        reason = why_no_window()
        if reason is not None:
            raise SinkError(f"cannot open a window: {reason}. Write to a file instead: {instead}")
        # Qt warns five times that OpenCV's wheel has no fonts; the app draws its own text.
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
        self._title = title
        self._paced = paced
        self._origin_s: float | None = None
        """Monotonic time of timestamp 0."""
        self._is_open = False

    def write(self, result: Result) -> None:
        """Show one frame.

        Raises:
            StopRun: the user wants to end.
        """
        if not self._is_open:
            self._open(result.canvas)
        while (wait_ms := self._due_in_ms(result.frame.pts_s)) > 0:
            self._heed_user(min(wait_ms, MAX_WAIT_MS))
        cv2.imshow(self._title, result.canvas)
        self._heed_user(1)

    def close(self, ending: Ending) -> None:
        """Close the window."""
        if self._is_open:
            self._is_open = False
            cv2.destroyAllWindows()
            cv2.waitKey(1)  # lets the window system act on it

    def _open(self, canvas: np.ndarray) -> None:
        self._is_open = True
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        # Qt handles events while it builds a window, so that the user may have closed it by now; imshow would build it
        # anew. Not every system has the window visible before its first picture, so that 0 is no sign here.
        self._end_run_unless(self._visibility() >= 0)
        cv2.resizeWindow(self._title, canvas.shape[1], canvas.shape[0])
        self._end_run_unless(self._visibility() >= 0)

    def _due_in_ms(self, pts_s: float) -> int:
        if not self._paced:
            return 0
        now_s = time.monotonic()
        if self._origin_s is None:
            self._origin_s = now_s - pts_s
        return round(1000 * (self._origin_s + pts_s - now_s))

    def _heed_user(self, wait_ms: int) -> None:
        """Let the window system work for a while; raise ``StopRun`` if the user wants to end."""
        key = cv2.waitKey(wait_ms) & 0xFF
        self._end_run_unless(self._visibility() >= 1)
        if key in QUIT_KEYS:
            raise StopRun

    def _end_run_unless(self, is_open: bool) -> None:  # noqa: FBT001 - it is the condition itself
        if not is_open:
            self._is_open = False
            raise StopRun

    def _visibility(self) -> float:
        """1 if the window can be seen, 0 if it is hidden, negative once it is closed."""
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE)
        except cv2.error:  # with Qt, nothing is left to be asked once the last window is closed
            return -1.0


def why_no_window() -> str | None:
    """Why no window can be shown here, or None; asked first, since Qt ends the whole process without a display."""
    gui = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    if gui is None or gui[1] == "NONE":
        return "this OpenCV is built without windows (opencv-python-headless?)"
    if platform.system() != "Linux":
        return None
    if os.environ.get("DISPLAY"):
        return None if _x_server_answers() else f"no X server answers at DISPLAY={os.environ['DISPLAY']}"
    return None if os.environ.get("WAYLAND_DISPLAY") else "there is no display (DISPLAY is not set)"


def _x_server_answers() -> bool:
    import ctypes
    import ctypes.util

    library = ctypes.util.find_library("X11")
    if library is None:
        return True  # cannot be asked; let the window try
    x11 = ctypes.CDLL(library)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = x11.XOpenDisplay(None)
    if display:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return bool(display)
