"""A Kalman filter that predicts where a box will be."""

import math

import numpy as np

from realtime.faces.boxes import centre_and_size, corners

BOX_NOISE = 0.03
"""Standard deviation of a detected box's centre and size, as a share of its size."""
ACCELERATION = 4.0
"""Square root of the spectral density of the acceleration of a head, in its sizes per second^1.5."""
INITIAL_SPEED = 2.0
"""Standard deviation of the speed of a new box, in its sizes per second."""
SPEED_DECAY_S = 0.5
"""Time constant in which an unobserved speed decays: heads do not keep moving."""


class BoxKalmanFilter:
    """Constant velocity, slowly decaying, as in SORT (Bewley et al., 2016).

    Noise is relative to the size of the box and the same for centre and size, so one 2x2 covariance serves all four.
    """

    def __init__(self, box: np.ndarray) -> None:
        """``box``: (4,) xyxy px."""
        self._position = centre_and_size(box)
        self._speed = np.zeros(4)
        self._variances = (BOX_NOISE**2, 0.0, INITIAL_SPEED**2)  # of position, covariance, of speed

    @property
    def box(self) -> np.ndarray:
        """(4,) xyxy px at the current time."""
        return corners(self._position)

    @property
    def speed(self) -> np.ndarray:
        """(4,) px/s of the corners at the current time; it decays with ``SPEED_DECAY_S``."""
        return corners(self._speed)

    def predict(self, elapsed_s: float) -> None:
        """Advance the state by ``elapsed_s`` seconds."""
        decay = math.exp(-elapsed_s / SPEED_DECAY_S)
        travel_s = SPEED_DECAY_S * (1 - decay)
        self._position = self._position + travel_s * self._speed
        self._position[2:] = np.maximum(self._position[2:], 1)
        self._speed = decay * self._speed
        place, both, speed = self._variances
        self._variances = (
            place + 2 * travel_s * both + travel_s**2 * speed + ACCELERATION**2 * elapsed_s**3 / 3,
            decay * (both + travel_s * speed) + ACCELERATION**2 * elapsed_s**2 / 2,
            decay**2 * speed + ACCELERATION**2 * elapsed_s,
        )

    def update(self, box: np.ndarray) -> None:
        """Correct the state by a detected box (4,) xyxy px."""
        place, both, speed = self._variances
        place_gain, speed_gain = place / (place + BOX_NOISE**2), both / (place + BOX_NOISE**2)
        innovation = centre_and_size(box) - self._position
        self._position = self._position + place_gain * innovation
        self._speed = self._speed + speed_gain * innovation
        self._variances = ((1 - place_gain) * place, (1 - place_gain) * both, speed - speed_gain * both)
