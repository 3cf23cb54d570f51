"""The colours of classes, and what can be read on them. Colours are BGR, 0..255."""

from functools import cache

import numpy as np

Colour = tuple[int, int, int]
"""BGR, 0..255."""

# The palette of Okabe and Ito, which the colour-blind can tell apart too.
PALETTE_BGR: tuple[Colour, ...] = (
    (115, 158, 0), (233, 180, 86), (0, 159, 230), (167, 121, 204), (0, 94, 213), (66, 228, 240), (178, 114, 0),
)  # fmt: skip
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
LUMINANCE_BGR = np.array((0.0722, 0.7152, 0.2126))
"""Rec. ITU-R BT.709: how much each channel, linear, adds to luminance."""


def colour_of(label: int) -> Colour:
    """The colour of a class; they repeat after seven."""
    return PALETTE_BGR[label % len(PALETTE_BGR)]


@cache
def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever contrasts more with a background: by at least 4.58, whatever the colour."""
    return BLACK if contrast(colour, BLACK) >= contrast(colour, WHITE) else WHITE


def contrast(first: Colour, second: Colour) -> float:
    """Contrast ratio of two colours, 1..21, as WCAG 2.2 defines it."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Colour) -> float:
    srgb = np.array(colour) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return float(LUMINANCE_BGR @ linear)
