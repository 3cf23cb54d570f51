"""Smoother boxes: the One-Euro filter."""

import math

import numpy as np

from realtime.faces.boxes import centre_and_size, corners

STILL_CUTOFF_HZ = 0.1
"""Cutoff frequency of a box at rest: lower is smoother. Tuned, as the next, with ``benchmarks/steadiness.py``."""
CUTOFF_PER_SPEED = 130.0
"""Rise of the cutoff in Hz for a speed of one image side per second: higher lags less. At constant speed the lag is
never more than 1 / (2 pi 130) of the image side, one pixel in 800."""
SPEED_CUTOFF_HZ = 1.0
"""Cutoff of the speed itself, the value of Casiez et al."""
MAX_GAP_S = 0.5
"""A box that was not seen for longer starts a new track of values."""


class BoxSmoother:
    """One-Euro filters (Casiez, Roussel and Vogel, CHI 2012) for the centres and sizes of N boxes at once.

    A low-pass filter whose cutoff rises with speed: a box at rest is held still, a moving one hardly lags. It works on
    timestamps, so that any frame rate, constant or not, is smoothed alike. Speed is measured in image sides, since the
    noise of a detector is relative to its input, whatever the size of the image.
    """

    def __init__(self, count: int) -> None:
        """``count``: N, the number of boxes."""
        self._measured = np.full((count, 4), np.nan)
        self._smooth = np.full((count, 4), np.nan)
        self._speed = np.zeros((count, 4))
        self._unseen_s = np.zeros((count, 1))

    def __call__(self, boxes: np.ndarray, elapsed_s: float, side_px: float) -> np.ndarray:
        """Smooth the boxes of the next frame.

        Args:
            boxes: (N,4) float, xyxy px; NaN where there is none.
            elapsed_s: time since the previous frame, above 0.
            side_px: longer side of the frame.

        Returns:
            (N,4) float, xyxy px; NaN as in ``boxes``.
        """
        measured = centre_and_size(boxes)
        since_s = self._unseen_s + elapsed_s
        here = ~np.isnan(measured[:, :1])
        continues = here & ~np.isnan(self._smooth[:, :1]) & (since_s <= MAX_GAP_S)
        speed = self._speed + _weight(SPEED_CUTOFF_HZ, since_s) * ((measured - self._measured) / since_s - self._speed)
        cutoff_hz = STILL_CUTOFF_HZ + CUTOFF_PER_SPEED / side_px * _speeds(speed)
        smooth = self._smooth + _weight(cutoff_hz, since_s) * (measured - self._smooth)
        self._smooth = np.where(continues, smooth, np.where(here, measured, self._smooth))
        self._speed = np.where(continues, speed, np.where(here, 0, self._speed))
        self._measured = np.where(here, measured, self._measured)
        self._unseen_s = np.where(here, 0, since_s)
        return np.where(here, corners(self._smooth), np.nan)


def _weight(cutoff_hz: np.ndarray | float, elapsed_s: np.ndarray) -> np.ndarray:
    """Weight of a new value in a low-pass filter: 1 / (1 + tau / elapsed), tau = 1 / (2 pi cutoff)."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * elapsed_s))


def _speeds(speed: np.ndarray) -> np.ndarray:
    """Speeds (N,4) of centre and size; x and y get their common length, so that both are smoothed alike."""
    return np.repeat(np.hypot(speed[:, ::2], speed[:, 1::2]), 2, axis=1)
