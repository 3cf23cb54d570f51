"""The style of all plots. Names are written as they are, in fonts that have them, without a word on standard error."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

DEFAULT_FAMILY = "DejaVu Sans"
"""Comes with matplotlib: Latin, Greek, Cyrillic and more, but neither Chinese, Japanese nor Korean."""

INK, PALE = "#333333", "#e4e4e4"
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "figure.titlesize": "medium",
    "figure.titleweight": "bold",
    "grid.color": PALE,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextlib.contextmanager
def plot_style(names: Iterable[str]) -> Iterator[None]:
    """A context in which figures are made and saved whose texts hold these names.

    A dollar sign is one, not the begin of a formula. What no font of the system can show becomes a box.
    """
    with warnings.catch_warnings(), mpl.rc_context({"text.parse_math": False} | STYLE):
        warnings.filterwarnings("ignore", category=UserWarning)  # missing glyphs, names too long for the layout
        mpl.rcParams["font.family"] = [DEFAULT_FAMILY, *_families_for("".join(names))]
        yield


def _families_for(text: str) -> Iterator[str]:
    """Installed fonts that have those characters that the default one lacks."""
    missing = {ord(c) for c in text if not c.isspace()} - _characters(font_manager.findfont(DEFAULT_FAMILY))
    if not missing:
        return
    fonts = {path: missing & _characters(path) for path in sorted(font_manager.findSystemFonts())}
    while missing and fonts:
        path = max(fonts, key=lambda path: len(missing & fonts[path]))
        if not missing & fonts[path]:
            return
        missing -= fonts[path]
        font_manager.fontManager.addfont(path)  # may be newer than matplotlib's list
        yield str(FT2Font(path).family_name)


def _characters(path: str) -> set[int]:
    """Code points that a font has; none if it cannot be read."""
    try:
        return set(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return set()
