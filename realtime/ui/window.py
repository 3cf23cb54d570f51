"""A live window."""

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from realtime.controls import Controls
from realtime.errors import SinkError
from realtime.faces.grouping import faces_above
from realtime.sinks.base import ClosingSink, Ending, StopRun
from realtime.structures import Detections, Result
from realtime.ui.snapshot import Snapshots
from realtime.ui.view import View, fit

WAIT_MS = 50
"""Longest wait without a look at what the user does."""
LARGEST_WH = (1280, 720)
"""The window opens no larger than this, which most screens have room for, and no smaller than half of it."""
NO_CHARACTERS = {
    27: "esc", 32: "space",
    0xFF52: "up", 0xFF54: "down",  # X11
    0x260000: "up", 0x280000: "down",  # Windows
    0xF700: "up", 0xF701: "down",  # macOS
    0xFFAB: "+", 0xFFAD: "-", **{0xFFB0 + n: str(n) for n in range(10)},  # X11's number pad
}  # fmt: skip


class WindowSink(ClosingSink):
    """Shows each result and gives the keys to the controls; closing the window ends the run."""

    is_slow = False  # and most window systems want the main thread

    def __init__(
        self,
        title: str,
        view: View,
        controls: Controls,
        snapshots: Snapshots,
        *,
        paced: bool,
        instead: str,
        hide_more: Callable[[np.ndarray, Detections], np.ndarray] | None = None,
    ) -> None:
        """Check that a window can be shown; it opens with the first frame.

        Args:
            title: of the window.
            view: makes the pictures.
            controls: what the keys change.
            snapshots: where the key for it puts what is shown.
            paced: show each frame no sooner than its timestamp says, as a player of files does.
            instead: the option that does without a window, for the message.
            hide_more: hides what was found, in a run that hides faces, besides what is hidden in a picture already.

        Raises:
            SinkError: no display, or an OpenCV that was built without windows.
        """
        reason = why_no_window()
        if reason is not None:
            raise SinkError(f"cannot open a window: {reason}. Write to a file instead: {instead}")
        if _knows_x11_only():
            os.environ["QT_QPA_PLATFORM"] = "xcb"  # Wayland desktops ask for another, for which Qt ends the process
        # Qt warns five times that OpenCV's wheel has no fonts; the app draws its own text.
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
        self.needs_canvas = view.canvas_only  # else it draws for itself: at its own size, and mirrored if wanted
        self._title = title
        self._view = view
        self._controls = controls
        self._snapshots = snapshots
        self._paced = paced
        self._origin_s: float | None = None
        """Monotonic time of timestamp 0."""
        self._hide_more = hide_more
        self._shown: Result | None = None
        """What is in the window."""
        self._written: Result | None = None
        self._written_threshold = controls.threshold
        """That which counted when the shown frame was looked at."""
        self._opening_wh = LARGEST_WH
        self._is_open = False

    def write(self, result: Result) -> None:
        """Show one frame.

        Raises:
            StopRun: the user wants to end.
        """
        if not self._is_open:
            self._open(result.frame.image)
        threshold = self._controls.threshold
        while (wait_ms := self._due_in_ms(result.frame.pts_s)) > 0:
            self._heed_user(min(wait_ms, WAIT_MS))
        self._written, self._written_threshold = result, threshold
        self._view.meter.shown(result.frame)
        self._show(result)
        self._heed_user(1)

    def refresh(self) -> None:
        """Show the last frame again as things are now, and heed the user: while the run is paused or has no new frame.

        Raises:
            StopRun: the user wants to end.
        """
        if self._written is None:
            return
        if self._controls.paused:
            self._origin_s = None  # the clock of a file stands still
            self._view.meter.paused()
        self._show(self._written)
        self._heed_user(WAIT_MS if self._controls.paused else 1)

    def close(self, ending: Ending) -> None:
        """Close the window."""
        if self._is_open:
            self._is_open = False
            cv2.destroyAllWindows()
            cv2.waitKey(1)  # lets the window system act on it

    def _open(self, image: np.ndarray) -> None:
        self._is_open = True
        scale = fit(image, LARGEST_WH)
        scale = min(scale, max(1.0, scale / 2))
        self._opening_wh = round(scale * image.shape[1]), round(scale * image.shape[0])
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        # Qt handles events while it builds a window, so that the user may have closed it by now; imshow would build it
        # anew. Not every system has the window visible before its first picture, so that 0 is no sign here.
        self._end_run_unless(self._visibility() >= 0)
        cv2.resizeWindow(self._title, *self._opening_wh)
        self._end_run_unless(self._visibility() >= 0)

    def _due_in_ms(self, pts_s: float) -> int:
        if not self._paced or self._controls.paused:
            return 0
        now_s = time.monotonic()
        if self._origin_s is None:
            self._origin_s = now_s - pts_s
        return round(1000 * (self._origin_s + pts_s - now_s))

    def _show(self, result: Result) -> None:
        threshold = self._controls.threshold
        if threshold != self._written_threshold:  # moved while the frame is shown
            detections = result.found.above(threshold)
            canvas = self._hide_more(result.canvas, detections) if self._hide_more else result.canvas
            faces = faces_above(result.faces, threshold)
            result = replace(result, detections=detections, canvas=canvas, faces=faces)
        self._shown = result
        cv2.imshow(self._title, self._view.picture(result, self._size_wh()))

    def _size_wh(self) -> tuple[int, int]:
        """Size in pixels that the window has for the picture, as far as the window system tells."""
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return (width, height) if width > 1 and height > 1 else self._opening_wh

    def _heed_user(self, wait_ms: int) -> None:
        """Let the window system work for a while; raise ``StopRun`` if the user wants to end."""
        key = key_name(cv2.waitKeyEx(wait_ms))
        self._end_run_unless(self._visibility() >= 1)
        if key is not None and self._controls.press(key):
            self._act()
        if self._controls.ended:
            raise StopRun

    def _act(self) -> None:
        """Let a key be seen to work at once, be the next frame near or far."""
        if self._shown is None or self._written is None:
            return
        if self._controls.snapshot_wanted:
            self._controls.snapshot_wanted = False
            self._snapshots.save(self._shown)
        self._show(self._written)

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


def key_name(code: int) -> str | None:
    """The name of a key in the controls' words, by what ``waitKeyEx`` gave; None for no key and for unknown ones."""
    if code < 0:  # none; or, with Qt, a letter beyond ASCII
        return None
    if code not in NO_CHARACTERS:
        code &= 0xFFFF  # GTK puts Shift, Num Lock and the like above
    if code in NO_CHARACTERS:
        return NO_CHARACTERS[code]
    return chr(code).lower() if 0x20 < code < 0x7F else None


def why_no_window() -> str | None:
    """Why no window can be shown here, or None; asked first, since Qt ends the whole process without a display."""
    gui = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    if gui is None or gui[1] == "NONE":
        return "this OpenCV is built without windows (opencv-python-headless?)"
    if platform.system() != "Linux":
        return None
    if os.environ.get("DISPLAY"):
        return None if _x_server_answers() else f"no X server answers at DISPLAY={os.environ['DISPLAY']}"
    if os.environ.get("WAYLAND_DISPLAY"):
        return "this OpenCV knows X11 only (DISPLAY is not set; XWayland would do)" if _knows_x11_only() else None
    return "there is no display (DISPLAY is not set)"


def _knows_x11_only() -> bool:
    """True for OpenCV's own wheels: the Qt in them has one way to a screen."""
    platforms = Path(cv2.__file__).parent / "qt" / "plugins" / "platforms"
    return {path.name for path in platforms.glob("libq*.so")} == {"libqxcb.so"}


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
