"""How closely each place of a frame was looked at."""

from dataclasses import dataclass

import numpy as np

FEATURES_PX = 30.0
"""Height of a face in the network's input from which a look shows its features too, for as long as a feature that is
missed once is held. Moving images show smaller ones in close-ups, about twice as large."""
FACE_PX = 24.0
"""Height from which a face that a look does not find is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """The regions of one frame that went through the network."""

    regions: np.ndarray
    """(R,4) float, xyxy in pixels of the frame."""
    scales: np.ndarray
    """(R,) float, pixels of the network's input in a pixel of the frame."""

    def heights_px(self, boxes: np.ndarray) -> np.ndarray:
        """Height (N,) of boxes (N,4) in the input of the network, where a look showed them largest; 0 if none did."""
        centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
        inside = ((self.regions[:, :2] <= centres) & (centres <= self.regions[:, 2:])).all(axis=2)  # (N,R)
        heights: np.ndarray = (boxes[:, 3] - boxes[:, 1]) * np.where(inside, self.scales, 0.0).max(axis=1, initial=0.0)
        return heights
