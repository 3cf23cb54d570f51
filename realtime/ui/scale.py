"""How large letters and lines are in the window: by the pixels of the screen, which may be small.

The Qt of OpenCV's wheels would draw on a screen with small pixels at half the resolution and enlarge the result. So its
scaling is switched off, and the app draws at the full resolution, larger. Other window systems (GTK, Windows, macOS)
scale windows by themselves, and say nothing of it to OpenCV; there the scale is 1.
"""

import os
import re
from contextlib import suppress
from functools import cache

from realtime.ui.display import Screen, supports_x11_only

USUAL_DPI = 96
"""Dots per inch of a screen whose scale is 1."""
MAX_SCALE = 4.0
QT_SCALES = ("QT_SCALE_FACTOR", "GDK_SCALE")
"""Environment variables in which users say it to other programs."""


def window_scale(given: float | None = None) -> float:
    """By how much letters and lines of the window are to be larger than on a screen of 96 dots per inch, 1..4.

    ``given`` by the user, or else what the environment, the desktop (``Xft.dpi``) or the X server says.
    """
    return given if given is not None else _scale_of_desktop()


def prepare_qt() -> None:
    """Tell Qt, which is part of OpenCV's wheels, how to behave."""
    if supports_x11_only():
        _scale_of_desktop()  # kept from now on: the variables change
        os.environ["QT_QPA_PLATFORM"] = "xcb"  # Wayland desktops ask for another, for which Qt ends the process
        os.environ["QT_ENABLE_HIGHDPI_SCALING"] = "0"
        for variable in ("QT_SCALE_FACTOR", "QT_SCREEN_SCALE_FACTORS", "QT_AUTO_SCREEN_SCALE_FACTOR"):
            os.environ.pop(variable, None)
    # Qt warns five times that OpenCV's wheel has no fonts; the app draws its own text.
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")


@cache
def _scale_of_desktop() -> float:
    if not supports_x11_only():
        return 1.0
    for variable in QT_SCALES:
        with suppress(ValueError):
            return _in_range(float(os.environ.get(variable, "")))
    screen = Screen.now()
    if screen is None:
        return 1.0
    dpi = _xft_dpi(screen.resources) or screen.dpi or USUAL_DPI
    return _in_range(round(4 * dpi / USUAL_DPI) / 4)


def _in_range(scale: float) -> float:
    return min(max(scale, 1.0), MAX_SCALE)


def _xft_dpi(resources: str) -> float | None:
    found = re.search(r"^Xft\.dpi:\s*(\d+(?:\.\d*)?)\s*$", resources, re.MULTILINE)
    return float(found[1]) if found else None
