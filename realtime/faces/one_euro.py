"""Steadier boxes: the One-Euro filter."""

import math

import numpy as np

from realtime.faces.boxes import centre_and_size, corners

STILL_CUTOFF_HZ = 0.1
"""Cutoff for a box at rest: lower is steadier. This and the next were chosen with ``benchmarks/steadiness.py``."""
CUTOFF_PER_SPEED = 130.0
"""Hz by which the cutoff rises for each side of the picture per second: higher lags less. A box that moves evenly is
never further behind than 1 / (2 pi 130) sides, a pixel in 800."""
SPEED_CUTOFF_HZ = 1.0
"""Cutoff for the speed itself, that of Casiez et al."""
GAP_S = 0.5
"""A box that was last seen longer ago starts anew."""


class BoxSmoother:
    """One-Euro filters (Casiez, Roussel and Vogel, CHI 2012) for the centres and sizes of N boxes at once.

    A low-pass filter whose cutoff rises with speed: a box at rest is held still, a moving one is hardly held back.
    Times are those of the pictures, so any frame rate, and a varying one, is smoothed alike. Speed is counted in sides
    of the picture, since a detector's noise is a share of its input, whatever the size of the picture.
    """

    def __init__(self, count: int) -> None:
        """``count``: N, the number of boxes."""
        self._measured = np.full((count, 4), np.nan)
        self._smooth = np.full((count, 4), np.nan)
        self._speed = np.zeros((count, 4))
        self._away_s = np.zeros((count, 1))

    def __call__(self, boxes: np.ndarray, elapsed_s: float, side_px: float) -> np.ndarray:
        """Smooth the boxes of one picture.

        Args:
            boxes: (N,4) float, xyxy px; NaN for those that are not there now.
            elapsed_s: time since the picture before, above 0.
            side_px: longer side of the picture.

        Returns:
            (N,4) float, xyxy px; NaN as in ``boxes``.
        """
        measured = centre_and_size(boxes)
        since_s = self._away_s + elapsed_s
        here = ~np.isnan(measured[:, :1])
        goes_on = here & ~np.isnan(self._smooth[:, :1]) & (since_s <= GAP_S)
        speed = self._speed + _share(SPEED_CUTOFF_HZ, since_s) * ((measured - self._measured) / since_s - self._speed)
        cutoff_hz = STILL_CUTOFF_HZ + CUTOFF_PER_SPEED / side_px * _lengths(speed)
        smooth = self._smooth + _share(cutoff_hz, since_s) * (measured - self._smooth)
        self._smooth = np.where(goes_on, smooth, np.where(here, measured, self._smooth))
        self._speed = np.where(goes_on, speed, np.where(here, 0, self._speed))
        self._measured = np.where(here, measured, self._measured)
        self._away_s = np.where(here, 0, since_s)
        return np.where(here, corners(self._smooth), np.nan)


def _share(cutoff_hz: np.ndarray | float, elapsed_s: np.ndarray) -> np.ndarray:
    """How much of a new value a low-pass filter takes: 1 / (1 + tau / elapsed), tau = 1 / (2 pi cutoff)."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * elapsed_s))


def _lengths(speed: np.ndarray) -> np.ndarray:
    """Speeds (N,4) of centre and size; x and y get their common length, so that a box is held back evenly."""
    return np.repeat(np.hypot(speed[:, ::2], speed[:, 1::2]), 2, axis=1)
