"""Whether a window can be shown on this machine."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

LARGEST_WH = (1280, 720)
"""Windows open no larger than this, for which most screens have room, or than ``SCREEN_SHARE`` of a larger screen,
whose pixels are small."""
SCREEN_SHARE = 2 / 3
FULL_SHARE = 0.9
"""Of a screen, for windows that are larger because letters are; panels and frames of windows need the rest."""


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


def largest_wh(scale: float = 1.0) -> tuple[int, int]:
    """Width and height in pixels that windows open with at most, on a screen whose letters are ``scale`` as large."""
    screen = Screen.now()
    usual = round(scale * LARGEST_WH[0]), round(scale * LARGEST_WH[1])
    if screen is None:
        return usual
    width, height = screen.monitor_wh
    room = round(FULL_SHARE * width), round(FULL_SHARE * height)
    usual = max(LARGEST_WH[0], min(usual[0], room[0])), max(LARGEST_WH[1], min(usual[1], room[1]))
    return max(usual[0], round(SCREEN_SHARE * width)), max(usual[1], round(SCREEN_SHARE * height))


@dataclass(frozen=True, slots=True)
class Screen:
    """The X11 screen, all its monitors together."""

    size_wh: tuple[int, int]
    """In pixels."""
    width_mm: int
    """As the X server has it, which is often made up to give 96 dots per inch; 0 if it does not know."""
    resources: str
    """What the desktop says to all programs, ``Xft.dpi: 96`` in a line."""

    @classmethod
    def now(cls) -> "Screen | None":
        """As it is; None where it cannot be asked."""
        import ctypes

        x11 = _x11()
        display = x11.XOpenDisplay(None) if x11 else None
        if x11 is None or not display:
            return None
        handle = ctypes.c_void_p(display)
        number = x11.XDefaultScreen(handle)
        size_wh = int(x11.XDisplayWidth(handle, number)), int(x11.XDisplayHeight(handle, number))
        x11.XResourceManagerString.restype = ctypes.c_char_p
        resources = (x11.XResourceManagerString(handle) or b"").decode(errors="replace")
        screen = cls(size_wh, int(x11.XDisplayWidthMM(handle, number)), resources)
        x11.XCloseDisplay(handle)
        return screen

    @property
    def dpi(self) -> float | None:
        """Dots per inch."""
        return 25.4 * self.size_wh[0] / self.width_mm if self.width_mm > 0 else None

    @property
    def monitor_wh(self) -> tuple[int, int]:
        """Of monitors side by side, one."""
        width, height = self.size_wh
        return (min(width, 16 * height // 9), height) if width > height else self.size_wh


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
