"""Where a box will be: a Kalman filter."""

import math

import numpy as np

from realtime.faces.boxes import centre_and_size, corners

BOX_NOISE = 0.03
"""Standard deviation of a detected box's centre and size, as a share of its size."""
ACCELERATION = 4.0
"""Root of the spectral density of a head's acceleration, in its sizes per second^1.5."""
FIRST_SPEED = 2.0
"""Standard deviation of a new box's speed, in its sizes per second."""
SPEED_FADES_S = 0.5
"""A speed that is not seen any more dies away in this time: heads do not run on."""


class BoxMotion:
    """Kalman filter for a box that moves with constant, slowly fading velocity, as in SORT (Bewley et al. 2016).

    Centre and size have the same noise in shares of the box's size, so one 2x2 covariance serves all four.
    """

    def __init__(self, box: np.ndarray) -> None:
        """``box``: (4,) xyxy px."""
        self._place = centre_and_size(box)
        self._speed = np.zeros(4)
        self._variances = (BOX_NOISE**2, 0.0, FIRST_SPEED**2)  # of place, of both together, of speed

    @property
    def box(self) -> np.ndarray:
        """(4,) xyxy px at the time reached."""
        return corners(self._place)

    def predict(self, elapsed_s: float) -> None:
        """Go on in time."""
        fade = math.exp(-elapsed_s / SPEED_FADES_S)
        way_s = SPEED_FADES_S * (1 - fade)
        self._place = self._place + way_s * self._speed
        self._place[2:] = np.maximum(self._place[2:], 1)
        self._speed = fade * self._speed
        place, both, speed = self._variances
        self._variances = (
            place + 2 * way_s * both + way_s**2 * speed + ACCELERATION**2 * elapsed_s**3 / 3,
            fade * (both + way_s * speed) + ACCELERATION**2 * elapsed_s**2 / 2,
            fade**2 * speed + ACCELERATION**2 * elapsed_s,
        )

    def correct(self, box: np.ndarray) -> None:
        """Take in the box (4,) xyxy px that was found at the time reached."""
        place, both, speed = self._variances
        place_gain, speed_gain = place / (place + BOX_NOISE**2), both / (place + BOX_NOISE**2)
        surprise = centre_and_size(box) - self._place
        self._place = self._place + place_gain * surprise
        self._speed = self._speed + speed_gain * surprise
        self._variances = ((1 - place_gain) * place, (1 - place_gain) * both, speed - speed_gain * both)
