"""Faces that are known from earlier frames, and where they are by now."""

import math
from dataclasses import dataclass

import numpy as np

from realtime.faces.kalman import SPEED_DECAY_S


@dataclass(frozen=True, slots=True, eq=False)
class KnownFaces:
    """Where faces were at a time, and how they moved."""

    boxes: np.ndarray
    """(F,4) float64, xyxy px."""
    speeds: np.ndarray
    """(F,4) float64, of the corners, px/s."""
    scores: np.ndarray
    """(F,) float, 0..1."""
    pts_s: float

    @classmethod
    def none(cls) -> "KnownFaces":
        """Nobody."""
        return cls(np.zeros((0, 4)), np.zeros((0, 4)), np.zeros(0), 0.0)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: slice | np.ndarray) -> "KnownFaces":
        """Those of a slice, a mask (F,) bool or indices (M,) int."""
        return KnownFaces(self.boxes[rows], self.speeds[rows], self.scores[rows], self.pts_s)

    def at(self, pts_s: float) -> "KnownFaces":
        """The same at a later time, as ``BoxKalmanFilter`` predicts: speeds decay."""
        travel_s = SPEED_DECAY_S * (1 - math.exp(-max(0.0, pts_s - self.pts_s) / SPEED_DECAY_S))
        return KnownFaces(self.boxes + travel_s * self.speeds, self.speeds, self.scores, pts_s)
