"""Calibrated scores: what share of the detections with a score is right.

A detector's softmax is crowded near 0 and 1, and no share of anything. The map here gives for each score of a class the
share of detections with that score that match a labelled box at IoU 0.5. It rises with the score, so that the order
within a class, and with it AP, stays.

It belongs after suppression and voting: these compare scores within a class alone, and their boxes stay what they were.
"""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

CALIBRATED_THRESHOLD = 0.5
"""Default score threshold of a calibrated model: a box that is right more often than not is kept."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Beta calibration (Kull et al., 2017): of class c, a score s becomes k[c] s^a / (k[c] s^a + (1 - s)^b).

    The shape is one for all classes: with a shape for each, held-out images were no better calibrated.
    """

    a: float
    """Above 0."""
    b: float
    """Above 0."""
    factors: tuple[float, ...]
    """k, above 0, for each class in the order of the labels."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibration":
        """The inverse of ``as_dict``; keys of other kinds are ignored."""
        return cls(float(values["a"]), float(values["b"]), tuple(map(float, values["factors"])))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"factors": list(self.factors)}

    def __call__(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Calibrate scores (N,) float32, 0..1, of zero-based labels (N,) int64; 0 stays 0, and 1 stays 1."""
        rest = F.relu(1 - scores).pow(self.b)  # a softmax may exceed 1 by a rounding error
        odds = scores.new_tensor(self.factors)[labels] * scores.pow(self.a)
        return odds / (odds + rest)
