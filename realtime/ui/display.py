"""Whether a window can be shown on this machine."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import cv2

LARGEST_WH = (1280, 720)
"""Windows open no larger than this, for which most screens have room, or than ``SCREEN_SHARE`` of a larger screen,
whose pixels are small."""
SCREEN_SHARE = 2 / 3


def no_window_reason() -> str | None:
    """Why no window can be shown here, or None; asked first, since Qt ends the whole process without a display."""
    gui = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    if gui is None or gui[1] == "NONE":
        return "this OpenCV is built without windows (opencv-python-headless?)"
    if platform.system() != "Linux":
        return None
    if os.environ.get("DISPLAY"):
        return None if _x_server_answers() else f"no X server answers at DISPLAY={os.environ['DISPLAY']}"
    if os.environ.get("WAYLAND_DISPLAY"):
        return "this OpenCV knows X11 only (DISPLAY is not set; XWayland would do)" if supports_x11_only() else None
    return "there is no display (DISPLAY is not set)"


def supports_x11_only() -> bool:
    """True for OpenCV's own wheels: the Qt in them has one way to a screen."""
    platforms = Path(cv2.__file__).parent / "qt" / "plugins" / "platforms"
    return {path.name for path in platforms.glob("libq*.so")} == {"libqxcb.so"}


def largest_wh() -> tuple[int, int]:
    """Width and height in pixels that windows open with at most."""
    width, height = screen_wh() or LARGEST_WH
    return max(LARGEST_WH[0], round(SCREEN_SHARE * width)), max(LARGEST_WH[1], round(SCREEN_SHARE * height))


def screen_wh() -> tuple[int, int] | None:
    """Width and height in pixels of the X11 screen, of all its monitors together; None where it cannot be asked."""
    import ctypes

    x11 = _x11()
    display = x11.XOpenDisplay(None) if x11 else None
    if x11 is None or not display:
        return None
    handle = ctypes.c_void_p(display)
    screen = x11.XDefaultScreen(handle)
    size_wh = int(x11.XDisplayWidth(handle, screen)), int(x11.XDisplayHeight(handle, screen))
    x11.XCloseDisplay(handle)
    # Of monitors side by side, one.
    return (min(size_wh[0], 16 * size_wh[1] // 9), size_wh[1]) if size_wh[0] > size_wh[1] else size_wh


def _x_server_answers() -> bool:
    import ctypes

    x11 = _x11()
    if x11 is None:
        return True  # cannot be asked; let the window try
    display = x11.XOpenDisplay(None)
    if display:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return bool(display)


def _x11() -> Any:
    """Xlib; None where there is none."""
    import ctypes
    import ctypes.util

    library = ctypes.util.find_library("X11") if platform.system() == "Linux" else None
    if library is None:
        return None
    x11 = ctypes.CDLL(library)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    return x11
